"""`ray job submit --working-dir . -- python jobs/train_ae.py …` against `ray start --head`, two CPUs."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from rhoray.local.ports import free_port
from rhoray.local.processes import signal_all

pytestmark = pytest.mark.cluster
MINUTES = 60
BIN = Path(sys.executable).parent


@pytest.fixture(scope="module")
def head(store, tmp_path_factory) -> Iterator[str]:
    """The dashboard of a Ray started on the command line; ended by its own process, for `ray stop` ends all Rays."""
    del store  # the workers inherit the way to the bucket
    port, dashboard, agent = free_port(), free_port(), free_port()
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled", "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"}
    environment.pop("RAY_ADDRESS", None)
    command = [
        f"{BIN}/ray", "start", "--head", "--block", "--num-cpus=2", f"--port={port}", f"--dashboard-port={dashboard}",
        "--node-ip-address=127.0.0.1", "--object-store-memory=300000000",
        f"--dashboard-agent-listen-port={agent}", "--min-worker-port=0", "--max-worker-port=0",
    ]  # fmt: skip
    log = (tmp_path_factory.mktemp("head") / "log").open("w")
    process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
    url = f"http://127.0.0.1:{dashboard}"
    deadline = time.monotonic() + MINUTES
    # Jobs are started by the agent, which comes up after the dashboard.
    while not (_answers(f"{url}/api/version") and _answers(f"http://127.0.0.1:{agent}/api/local_raylet_healthz")):
        assert process.poll() is None, Path(log.name).read_text()
        assert time.monotonic() < deadline, Path(log.name).read_text()
        time.sleep(0.5)
    yield url
    signal_all(process.pid, signal.SIGKILL)  # asked to, it takes half a minute to end them
    process.wait(MINUTES)


def _answers(url: str) -> bool:
    try:
        return httpx.get(url, timeout=2).is_success
    except httpx.HTTPError:
        return False


def submit(dashboard: str, root: Path, *command: str, variables: dict[str, str] | None = None) -> str:
    """Return the log of a submitted job, which brings some environment variables along."""
    brought = ["--runtime-env-json", json.dumps({"env_vars": variables})] if variables else []
    run = subprocess.run(
        [f"{BIN}/ray", "job", "submit", "--address", dashboard, "--working-dir", ".", *brought, "--", *command],
        cwd=root,
        capture_output=True,
        text=True,
        timeout=8 * MINUTES,
        check=False,
        env={**os.environ, "RAY_ADDRESS": dashboard},
    )
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout + run.stderr


def test_training_as_a_submitted_job_runs_two_workers(head, root, bucket):
    data = f"{bucket}/densities/small"
    submit(head, root, "python", "jobs/ingest.py", "--source", "sample:", "--limit", "40", "--out", data)
    out = f"{bucket}/runs/submitted"
    log = submit(head, root, "python", "jobs/train_ae.py", "--data", data, "--out", out, "--epochs", "1")
    assert "worker 1 of 2" in log
    assert "worker 2 of 2" in log
    summary = next(json.loads(line) for line in reversed(log.splitlines()) if line.startswith("{"))
    assert summary["out"] == out
    assert summary["epochs"] == 1


def test_platform_is_the_standard_library_in_a_submitted_job_and_its_workers(head, root):
    check = (
        "import platform, ray; ray.init(); "
        "f = ray.remote(lambda: __import__('platform').python_version()); "
        "print('DRIVER', platform.python_version(), 'WORKER', ray.get(f.remote()))"
    )
    version = ".".join(map(str, sys.version_info[:3]))
    assert f"DRIVER {version} WORKER {version}" in submit(head, root, "python", "-c", check)


def test_workers_run_the_package_and_have_the_keys_that_the_job_brought(head, root):
    check = (
        "import sys; sys.path.insert(0, 'jobs'); import _job, ray; from rhoray.pipeline.cluster import connect; "
        "held = connect(); held.__enter__(); f = ray.remote(lambda: __import__('rhoray').__file__); "
        "print('PACKAGE', ray.get(f.remote())); g = ray.remote(lambda: __import__('os').environ['AWS_ACCESS_KEY_ID']); "
        "print('KEY', ray.get(g.remote()))"
    )
    log = submit(head, root, "python", "-c", check, variables={"AWS_ACCESS_KEY_ID": "brought"})
    assert re.search(r"^PACKAGE /\S*runtime_resources/", log, re.MULTILINE), log
    assert re.search(r"^KEY brought$", log, re.MULTILINE), log
