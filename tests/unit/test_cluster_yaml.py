"""cluster.yaml and its siblings against the schema of the Ray that they pin, and `ray up` as far as it goes offline."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start

from rhoray.pipeline.cluster import BLOCK_BYTES

ROOT = Path(__file__).parents[2]
CLUSTERS = ("cluster.yaml", "infra/clusters/gcp.yaml", "infra/clusters/on-premise.yaml")


@pytest.fixture(params=CLUSTERS)
def config(request):
    return yaml.safe_load((ROOT / request.param).read_text())


def start_flags(config, who):
    (command,) = [c for c in config[f"{who}_start_ray_commands"] if "ray start" in c]
    return dict(re.findall(r"--([a-z-]+)(?:=(\S+))?", command))


def test_it_fits_rays_own_schema(config):
    schema = json.loads((Path(ray.__file__).parent / "autoscaler" / "ray-schema.json").read_text())
    if config["provider"]["type"] != "local":  # whose numbers Ray writes into a node type of its own making first
        jsonschema.validate(config, schema)
    validate_config(prepare_config(config))


def test_a_slip_is_found(config):
    slip = config | {"idle_timeout_minuets": 5}
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout_minuets"):
        validate_config(prepare_config(slip))


def test_every_image_has_the_locked_ray_and_a_python_of_ours(config, root):
    locked = re.search(r"^ray==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE)[1]
    images = re.findall(r"rayproject/ray\S*", yaml.safe_dump(config))
    assert images
    assert all(re.fullmatch(rf"rayproject/ray:{re.escape(locked)}-py31[12]-(cpu|gpu)", image) for image in images)


def test_the_head_does_no_work(config):
    flags = start_flags(config, "head")
    assert flags["num-cpus"] == flags["num-gpus"] == "0"
    assert flags["dashboard-host"] == "127.0.0.1"


def test_workers_are_spot_and_go_to_zero(config):
    if config["provider"]["type"] == "local":
        pytest.skip("machines of one's own are there or not")
    types = config["available_node_types"]
    assert types["head"]["resources"] == {"CPU": 0}
    assert types["gpu"]["resources"]["GPU"] == 1
    for name in ("cpu", "gpu"):
        assert types[name]["min_workers"] == 0
        assert types[name]["max_workers"] > 0
        assert "spot" in json.dumps(types[name]["node_config"]).lower()
    assert config["idle_timeout_minutes"] <= 10


def test_flags_are_ones_that_ray_start_has(config):
    known = {option for parameter in start.params for option in parameter.opts}
    for who in ("head", "worker"):
        assert {f"--{flag}" for flag in start_flags(config, who)} <= known


def test_the_object_store_holds_many_blocks(config):
    assert int(start_flags(config, "worker")["object-store-memory"]) > 100 * BLOCK_BYTES
    assert int(start_flags(config, "head")["object-store-memory"]) > 20 * BLOCK_BYTES


def test_what_is_mounted_exists(config, root):
    assert all((root / local).is_file() for local in config["file_mounts"].values())


def test_there_are_no_keys():
    for path in [*CLUSTERS, *(ROOT / "infra" / "clusters" / "aws").glob("*.json")]:
        assert not re.search(r"AKIA|aws_secret_access_key\s*[:=]|BEGIN .*PRIVATE", (ROOT / path).read_text())


def test_aws_nodes_get_roles_that_the_policies_are_for(root):
    types = yaml.safe_load((root / "cluster.yaml").read_text())["available_node_types"]
    assert {t["node_config"]["IamInstanceProfile"]["Name"] for t in types.values()} == {"rhoray-head", "rhoray-node"}
    policy = json.loads((root / "infra" / "clusters" / "aws" / "head-policy.json").read_text())
    (passes,) = [s for s in policy["Statement"] if s["Action"] == "iam:PassRole"]
    assert passes["Resource"].endswith(":role/rhoray-node")


def test_ray_up_gets_as_far_as_credentials(root, tmp_path):
    """Schema, images, mounts and node types are accepted; the first word to AWS fails for want of a key."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("AWS_", "RAY_"))}
    run = subprocess.run(
        [Path(sys.executable).parent / "ray", "up", "cluster.yaml", "--no-config-cache", "-y"],
        cwd=root,
        env=environment | {"HOME": str(tmp_path), "AWS_EC2_METADATA_DISABLED": "true"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert run.returncode != 0
    assert "NoCredentialsError: Unable to locate credentials" in run.stderr, run.stderr[-2000:]
    assert "ValidationError" not in run.stdout + run.stderr
