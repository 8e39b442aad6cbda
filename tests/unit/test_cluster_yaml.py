"""cluster.yaml against the schema of the Ray that it pins."""

import re

import yaml
from ray.autoscaler._private.util import prepare_config, validate_config


def test_cluster_yaml_fits_rays_own_schema(root):
    config = yaml.safe_load((root / "cluster.yaml").read_text())
    validate_config(prepare_config(config))


def test_cluster_yaml_pins_the_locked_ray(root):
    image = yaml.safe_load((root / "cluster.yaml").read_text())["docker"]["image"]
    locked = re.search(r"^ray==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE)
    assert locked is not None
    assert f":{locked[1]}-" in image
