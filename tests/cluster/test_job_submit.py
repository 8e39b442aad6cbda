"""`ray job submit --working-dir . -- python jobs/train_ae.py …` on a cluster that has never heard of RhoRay."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from rhoray.pipeline.ingest import IngestConfig, ingest

pytestmark = pytest.mark.cluster
MINUTES = 60


def submit(dashboard: str, root: Path, *command: str) -> str:
    """Return the log of a submitted job; RAY_ADDRESS leads to the dashboard, as on a laptop."""
    run = subprocess.run(
        [f"{Path(sys.executable).parent}/ray", "job", "submit", "--address", dashboard, "--working-dir", ".", "--",
         *command],
        cwd=root, capture_output=True, text=True, timeout=8 * MINUTES, check=False,
        env={**os.environ, "RAY_ADDRESS": dashboard},
    )  # fmt: skip
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_training_as_a_submitted_job_runs_two_workers(cluster, root, bucket):
    data = f"{bucket}/densities/small"
    ingest(IngestConfig(source="sample:", out=data, limit=40))
    out = f"{bucket}/runs/submitted"
    log = submit(cluster, root, "python", "jobs/train_ae.py", "--data", data, "--out", out, "--epochs", "1")
    assert "worker 1 of 2" in log
    assert "worker 2 of 2" in log
    summary = next(json.loads(line) for line in reversed(log.splitlines()) if line.startswith("{"))
    assert summary["out"] == out
    assert summary["epochs"] == 1


def test_platform_is_the_standard_library_in_a_submitted_job_and_its_workers(cluster, root):
    check = (
        "import platform, ray; ray.init(); "
        "f = ray.remote(lambda: __import__('platform').python_version()); "
        "print('DRIVER', platform.python_version(), 'WORKER', ray.get(f.remote()))"
    )
    log = submit(cluster, root, "python", "-c", f'"{check}"')
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"DRIVER {version} WORKER {version}" in log
