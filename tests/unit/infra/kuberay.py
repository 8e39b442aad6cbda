"""The overlays as `kubectl apply -k` would send them, and the schemas that they must fit."""

import json
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest
import yaml
from jsonschema import Draft7Validator
from jsonschema.exceptions import ValidationError

FOLDER = Path(__file__).parents[3] / "infra" / "kuberay"
OVERLAYS = ("cpu", "gpu", "on-premise")


@cache
def built(overlay: str) -> list[dict]:
    """Return every manifest of an overlay."""
    if shutil.which("kubectl") is None:
        pytest.skip("no kubectl here, which has Kustomize built in")
    run = subprocess.run(
        ["kubectl", "kustomize", FOLDER / "overlays" / overlay], capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    return list(yaml.safe_load_all(run.stdout))


def of_kind(overlay: str, kind: str) -> list[dict]:
    return [manifest for manifest in built(overlay) if manifest["kind"] == kind]


@cache
def schema() -> dict:
    """Return one schema of Kubernetes' and Ray's kinds, `kinds` naming the definition of each."""
    kubernetes = json.loads((FOLDER / "schemas" / "kubernetes-1.37.json").read_text())
    ray = yaml.safe_load((FOLDER / "schemas" / "ray-v1.yaml").read_text())["definitions"]
    ray = json.loads(json.dumps(ray).replace('"k8s:', '"#/definitions/'))
    return {
        "definitions": kubernetes["definitions"] | ray,
        "kinds": kubernetes["kinds"] | {kind: kind for kind in ray if kind.startswith("Ray")},
    }


def errors(manifest: dict) -> list[ValidationError]:
    """Return what does not fit the schema of the manifest's kind."""
    name = schema()["kinds"][manifest["kind"]]
    validator = Draft7Validator({"$ref": f"#/definitions/{name}", "definitions": schema()["definitions"]})
    return list(validator.iter_errors(manifest))


def clusters(overlay: str) -> list[tuple[str, dict]]:
    """Return every specification of a Ray cluster with the name of the manifest that has it."""
    fields = {"RayCluster": [], "RayJob": ["rayClusterSpec"], "RayService": ["rayClusterConfig"]}
    found = []
    for manifest in built(overlay):
        if manifest["kind"] in fields:
            spec = manifest["spec"]
            for field in fields[manifest["kind"]]:
                spec = spec[field]
            found.append((f"{manifest['kind']} {manifest['metadata']['name']}", spec))
    return found


def pods(overlay: str) -> list[tuple[str, dict]]:
    """Return every pod template with where it is."""
    found = [
        (f"{m['kind']} {m['metadata']['name']}", m["spec"]["template"])
        for m in built(overlay)
        if m["kind"] in {"StatefulSet", "Deployment"}
    ]
    for name, spec in clusters(overlay):
        found += [(f"{name}, {group.get('groupName', 'head')}", group["template"])
                  for group in (spec["headGroupSpec"], *spec["workerGroupSpecs"])]  # fmt: skip
    return found
