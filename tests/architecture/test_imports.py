"""Importing does nothing but import: no files, no environment, no Ray, no other output."""

import json
import os
import subprocess
import sys

import pytest

# Set by libraries that are imported, each before it loads its native part.
SET_BY_OTHERS = {
    "CRC32C_SW_MODE": "tensorboardX",
    "KMP_DUPLICATE_LIB_OK": "scikit-learn",
    "KMP_INIT_AT_FORK": "scikit-learn",
    "RAY_CLIENT_MODE": "ray",
}

IMPORT_EVERYTHING = """
import importlib, json, os, pkgutil, signal
before, handler = dict(os.environ), signal.getsignal(signal.SIGTERM)
import rhoray, serve
names = [m.name for p in (rhoray, serve) for m in pkgutil.walk_packages(p.__path__, p.__name__ + ".")]
for name in names:
    importlib.import_module(name)
import ray
environment = {k for k in {*before, *os.environ} if before.get(k) != os.environ.get(k)}
children = f"/proc/{os.getpid()}/task/{os.getpid()}/children"
print(json.dumps({
    "names": names,
    "environment": sorted(environment),
    "ray": ray.is_initialized(),
    "signal": signal.getsignal(signal.SIGTERM) == handler,
    "children": open(children).read().split() if os.path.exists(children) else [],
}))
"""


@pytest.fixture(scope="module")
def imported(root, tmp_path_factory) -> dict:
    """What one fresh interpreter saw while it imported every module of rhoray and serve."""
    cwd = tmp_path_factory.mktemp("cwd")
    environment = {k: v for k, v in os.environ.items() if k not in SET_BY_OTHERS}
    environment |= {"PYTHONPATH": f"{root}{os.pathsep}{root / 'platform'}"}
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_EVERYTHING], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    *printed, last = run.stdout.splitlines()
    return {**json.loads(last), "printed": printed, "files": [p.name for p in cwd.iterdir()]}


def test_every_module_is_there(imported, root):
    files = [p for top in ("platform/rhoray", "serve") for p in (root / top).rglob("*.py") if p.stem != "__init__"]
    assert {name.rsplit(".", 1)[1] for name in imported["names"]} >= {p.stem for p in files}


def test_no_file_appears(imported):
    assert imported["files"] == []


def test_the_environment_stays(imported):
    assert set(imported["environment"]) <= SET_BY_OTHERS.keys()


def test_ray_is_not_started(imported):
    assert imported["ray"] is False
    assert imported["children"] == []


def test_nothing_is_printed(imported):
    assert imported["printed"] == []


def test_signal_handlers_stay(imported):
    assert imported["signal"] is True
