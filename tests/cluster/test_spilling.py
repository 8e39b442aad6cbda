"""The head command of cluster.yaml, run for real: what does not fit its object store goes to its spill folder."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import yaml

from rhoray.local.ports import free_port

pytestmark = pytest.mark.cluster
STORE = 90_000_000
BIN = Path(sys.executable).parent
ROOT = Path(__file__).parents[2]
SECONDS = 60

PUT = """
import json, sys, numpy as np, ray
ray.init(address=sys.argv[1], log_to_driver=False)
kept = [ray.put(np.full(20_000_000, i, np.uint8)) for i in range(10)]
print(json.dumps([int(ray.get(one)[0]) for one in kept]))
"""


def head_command(**other):
    """Return the words of cluster.yaml's `ray start`, with some flags changed, or left out where None."""
    config = yaml.safe_load((ROOT / "cluster.yaml").read_text())
    (line,) = [c for c in config["head_start_ray_commands"] if "ray start" in c]
    words = shlex.split(line.rpartition(";")[2])
    assert words[:2] == ["ray", "start"]
    flags = dict(re.fullmatch(r"--([a-z-]+)(?:=(.*))?", word).groups() for word in words[2:])
    assert {name for name, value in other.items() if value is None} <= flags.keys()
    flags = {name: value for name, value in {**flags, **other}.items() if name not in other or value is not None}
    return [f"{BIN}/ray", "start", "--block", *(f"--{n}" if v is None else f"--{n}={v}" for n, v in flags.items())]


@pytest.fixture
def head(tmp_path):
    """Its address and its spill folder; ended by its own process, for `ray stop` ends all Rays."""
    port = free_port()
    with tempfile.TemporaryDirectory(prefix="rs", dir="/tmp", ignore_cleanup_errors=True) as short:
        command = head_command(
            **{
                "port": port, "object-store-memory": STORE, "object-spilling-directory": tmp_path / "spill",
                "metrics-export-port": free_port(), "dashboard-port": free_port(), "temp-dir": short,
                "dashboard-agent-listen-port": free_port(), "min-worker-port": 0, "max-worker-port": 0,
                "node-ip-address": "127.0.0.1",
                "autoscaling-config": None,  # of a cloud
            }
        )  # fmt: skip
        environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
        environment.pop("RAY_ADDRESS", None)
        log = (tmp_path / "log").open("w")
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        try:
            yield f"127.0.0.1:{port}", tmp_path / "spill"
        finally:
            process.terminate()
            process.wait(SECONDS)


def test_what_does_not_fit_goes_to_the_spill_folder(head):
    address, folder = head
    environment = {**os.environ, "RAY_AUTH_MODE": "disabled"}
    deadline = time.monotonic() + SECONDS
    while True:
        done = subprocess.run(
            [sys.executable, "-c", PUT, address], env=environment, capture_output=True, text=True, timeout=SECONDS,
            check=False,
        )  # fmt: skip
        if done.returncode == 0 or time.monotonic() > deadline:
            break
        time.sleep(1)
    assert done.returncode == 0, done.stderr[-2000:]
    assert json.loads(done.stdout.splitlines()[-1]) == list(range(10))
    assert list(folder.rglob("*")), "nothing was spilt there"
