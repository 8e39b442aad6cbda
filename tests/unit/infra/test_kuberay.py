"""The manifests of infra/kuberay: what the schemas say, and what they can't."""

import copy
import functools
import re
import subprocess
import sys

import pytest
import yaml
from ray.serve.schema import ServeDeploySchema

from serve.settings import ServeSettings
from tests.unit.infra.kuberay import FOLDER, OVERLAYS, built, clusters, errors, of_kind, pods

JOBS = {
    "compare-features", "compute-density", "encode", "evaluate", "ingest", "predict", "publish", "train-ae",
    "tune-regressor",
}  # fmt: skip


@pytest.fixture(params=OVERLAYS)
def overlay(request):
    return request.param


@functools.cache
def flags_of(script):
    """The flags of a job, as it tells them; asked once for all overlays."""
    told = subprocess.run([sys.executable, str(script), "--help"], capture_output=True, text=True, check=True).stdout
    return set(re.findall(r"--[a-z-]+", told))


def locked_ray(root):
    return re.search(r"^ray==(\S+)", (root / "requirements.lock").read_text(), re.MULTILINE)[1]


def test_every_manifest_fits_its_schema(overlay):
    bad = [(m["kind"], m["metadata"]["name"], e.json_path, e.message) for m in built(overlay) for e in errors(m)]
    assert bad == []


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("RayCluster", "spec.enableInTreeAutoScaling", True),
        ("RayCluster", "spec.headGroupSpec.rayStartParams.num-cpus", 0),
        ("RayCluster", "spec.headGroupSpec.template.spec.containers.0.resource", {}),
        ("RayCluster", "spec.gcsFaultToleranceOptions.redisPassword", {"value": "secret"}),
        ("RayJob", "spec.backoffLimit", "3"),
        ("RayService", "spec.upgradeStrategy.type", "Rolling"),
        ("PodDisruptionBudget", "spec.minAvailabel", 1),
        ("NetworkPolicy", "spec.ingress.0.form", []),
    ],
)
def test_the_schemas_find_a_slip(kind, path, value):
    manifest = copy.deepcopy(of_kind("cpu", kind)[0])
    *parents, last = path.split(".")
    place = manifest
    for key in parents:
        place = place[int(key)] if key.isdigit() else place[key]
    place[last] = value
    assert errors(manifest)


def test_the_service_serves_what_serve_config_says(root):
    expected = yaml.safe_load((root / "serve" / "config.yaml").read_text())
    (service,) = of_kind("cpu", "RayService")
    found = yaml.safe_load(service["spec"]["serveConfigV2"])
    assert found == expected, "serve/config.yaml has changed: run `python infra/kuberay/serve_config.py`"
    ServeDeploySchema.model_validate(found)


def test_the_endpoint_has_room_for_every_deployment(overlay):
    (service,) = of_kind(overlay, "RayService")
    config = yaml.safe_load(service["spec"]["serveConfigV2"])
    need = sum(
        d["ray_actor_options"]["num_cpus"]
        * (d.get("num_replicas") or d.get("autoscaling_config", {}).get("max_replicas", 1))
        for d in config["applications"][0]["deployments"]
    )
    (group,) = service["spec"]["rayClusterConfig"]["workerGroupSpecs"]
    cpus = float(group["template"]["spec"]["containers"][0]["resources"]["requests"]["cpu"])
    assert group["maxReplicas"] * cpus >= need
    assert group["minReplicas"] >= 2


def test_every_job_of_the_repository_is_there_and_calls_a_script_with_flags_it_has(root, overlay):
    manifests = {m["metadata"]["name"]: m["spec"] for m in of_kind(overlay, "RayJob")}
    scripts = {path.stem for path in (root / "jobs").glob("[!_]*.py")}
    assert set(manifests) == JOBS == {script.replace("_", "-") for script in scripts}
    for name, spec in manifests.items():
        script = root / "jobs" / f"{name.replace('-', '_')}.py"
        assert f"python jobs/{script.name} " in spec["entrypoint"]
        flags = set(re.findall(r"--[a-z-]+", spec["entrypoint"]))
        assert flags <= flags_of(script)


def test_jobs_are_retried_end_in_time_and_leave_nothing_running(overlay):
    for job in of_kind(overlay, "RayJob"):
        assert job["spec"]["backoffLimit"] >= 1
        assert job["spec"]["activeDeadlineSeconds"] > 0
        assert job["spec"]["shutdownAfterJobFinishes"]


def test_a_retried_training_finds_its_run():
    for kind in ("cpu", "gpu"):
        (train,) = [j for j in of_kind(kind, "RayJob") if j["metadata"]["name"] == "train-ae"]
        first, second = train["spec"]["entrypoint"].split("||")
        assert "--resume" in first
        assert "--resume" not in second
        assert len(set(re.findall(r'--out "(\S+)"', train["spec"]["entrypoint"]))) == 1


def test_variables_of_the_entrypoints_are_in_the_settings(overlay):
    (settings,) = of_kind(overlay, "ConfigMap")
    for job in of_kind(overlay, "RayJob"):
        assert set(re.findall(r"\$(\w+)", job["spec"]["entrypoint"])) <= settings["data"].keys()
    assert ServeSettings(bundle=settings["data"]["RHORAY_BUNDLE"]).bundle


def test_clusters_run_the_locked_ray_without_work_on_the_head_and_with_a_token(root, overlay):
    found = clusters(overlay)
    assert len(found) == len(JOBS) + 2
    for name, spec in found:
        assert spec["rayVersion"] == locked_ray(root), name
        assert spec["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0", name
        assert spec["authOptions"] == {"mode": "token"}, name
        assert spec["enableInTreeAutoscaling"], name


def test_workers_of_jobs_go_to_zero(overlay):
    for name, spec in clusters(overlay):
        if not name.startswith("RayService"):
            assert {group["minReplicas"] for group in spec["workerGroupSpecs"]} == {0}, name


def test_gpus_are_asked_for_where_they_are():
    for name, spec in clusters("gpu"):
        if name.startswith("RayService"):
            continue
        (gpu,) = [g for g in spec["workerGroupSpecs"] if g["groupName"] == "gpu"]
        (container,) = gpu["template"]["spec"]["containers"]
        assert container["resources"]["limits"]["nvidia.com/gpu"] == "1"
        assert container["image"].endswith("-cuda")


def test_pods_are_bounded_not_root_and_watched(overlay):
    for name, template in pods(overlay):
        security = template["spec"]["securityContext"]
        assert security["runAsNonRoot"], name
        assert security["seccompProfile"] == {"type": "RuntimeDefault"}, name
        for container in template["spec"]["containers"]:
            assert container["resources"]["limits"]["memory"] == container["resources"]["requests"]["memory"] or (
                "StatefulSet" in name
            ), name
            assert container["securityContext"]["allowPrivilegeEscalation"] is False, name
            assert {"readinessProbe", "livenessProbe"} <= container.keys(), name
            assert not container["image"].endswith(":latest"), name
            assert ":" in container["image"], name


def test_the_object_store_fits_its_shared_memory_and_that_its_container(overlay):
    for name, spec in clusters(overlay):
        for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"]):
            template = group["template"]["spec"]
            (shm,) = [v["emptyDir"]["sizeLimit"] for v in template["volumes"] if v["name"] == "shm"]
            store = int(group["rayStartParams"]["object-store-memory"])
            memory = num_bytes(template["containers"][0]["resources"]["limits"]["memory"])
            assert store < num_bytes(shm) < 0.4 * memory, name


def num_bytes(text):
    number, unit = re.fullmatch(r"(\d+)(Mi|Gi)", text).groups()
    return int(number) * {"Mi": 2**20, "Gi": 2**30}[unit]


def test_secrets_are_only_referred_to(overlay):
    assert of_kind(overlay, "Secret") == []
    for name, template in pods(overlay):
        for container in template["spec"]["containers"]:
            literal = {v["name"] for v in container.get("env", []) if "value" in v}
            assert not [n for n in literal if re.search("KEY|TOKEN|PASSWORD|SECRET", n)], name
    (settings,) = of_kind(overlay, "ConfigMap")
    assert not [key for key in settings["data"] if re.search("KEY|TOKEN|PASSWORD|SECRET", key)]


def test_budgets_and_policy_select_pods_that_exist(overlay):
    labels = [template["metadata"]["labels"] for _, template in pods(overlay)]
    selectors = [m["spec"]["selector"]["matchLabels"] for m in of_kind(overlay, "PodDisruptionBudget")]
    selectors += [m["spec"]["podSelector"]["matchLabels"] for m in of_kind(overlay, "NetworkPolicy")]
    for selector in selectors:
        assert any(selector.items() <= label.items() for label in labels), selector


def test_what_is_referred_to_by_name_exists_or_is_a_secret_of_the_readme(overlay):
    readme = (FOLDER / "README.md").read_text()
    names = {(m["kind"], m["metadata"]["name"]) for m in built(overlay)}
    text = yaml.safe_dump_all(built(overlay))
    for secret in set(re.findall(r"secret(?:Key)?Ref:\n\s+(?:key: \S+\n\s+)?name: (\S+)", text)):
        assert f"secret generic {secret} " in readme, secret
    for config in set(re.findall(r"configMapRef:\n\s+name: (\S+)", text)):
        assert ("ConfigMap", config) in names
    if overlay == "on-premise":
        assert {("Service", "rhoray-redis"), ("Service", "rhoray-s3")} <= names
