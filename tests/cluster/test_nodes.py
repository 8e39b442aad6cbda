"""Several nodes on this machine: what a job ships reaches all of them, and one that is lost changes nothing."""

import json
import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.cluster
SECONDS = 120
COUNT = 24

# The suite's own Ray is connected to another cluster, so this one has a process and a folder of its own.
SCRIPT = """
import json, os, sys, time
from pathlib import Path
sys.path[:0] = [str(Path("benchmarks").resolve()), "platform", "."]
from _cluster import Job, nodes

source, out, work = sys.argv[1], sys.argv[2], Path(sys.argv[3])
ASK = '''
import sys
sys.path.insert(0, "jobs")
import _job, json, ray
from rhoray.pipeline.cluster import connect
with connect():
    where = ray.remote(lambda: __import__("rhoray").__file__)
    alive = [n["NodeID"] for n in ray.nodes() if n["Alive"] and n["Resources"].get("CPU")]
    told = [where.options(label_selector={"ray.io/node-id": node}).remote() for node in alive]
    print(json.dumps(ray.get(told)))
'''
with nodes(2) as cluster:
    import subprocess
    environment = {**os.environ, "RAY_ADDRESS": cluster.address}
    asked = subprocess.run([sys.executable, "-c", ASK], env=environment, capture_output=True, text=True, check=True)
    job = Job(["ingest", "--source", source, "--out", out], work / "log", 90, cluster.address)
    while job.running() and not (busy := cluster.busy("Map(")):
        time.sleep(0.01)
    time.sleep(0.3)
    if job.running():
        cluster.kill(next(iter(busy)))
    status = job.wait()
print(json.dumps({"packages": json.loads(asked.stdout.splitlines()[-1]), "status": status, "said": job.last_line()}))
"""


def test_two_nodes_run_the_shipped_package_and_one_may_be_lost(store, root, bucket, tmp_path):
    from rhoray.core.storage import find, read_bytes, write_bytes
    from tests.unit.builders import chgcar_text, salt

    del store
    for i in range(COUNT):
        write_bytes(f"{bucket}/nodes/in/m{i:02}_CHGCAR", chgcar_text(salt((32, 32, 32), edge=5.5 + i / 100)).encode())
    out = f"{bucket}/nodes/out"
    environment = {name: value for name, value in os.environ.items() if name not in ("RAY_ADDRESS", "PYTHONPATH")}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, f"{bucket}/nodes/in", out, str(tmp_path)],
        cwd=root, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    told = json.loads(done.stdout.splitlines()[-1])
    assert told["status"] == 0, told["said"]
    assert len(told["packages"]) == 2
    assert all("runtime_resources" in where for where in told["packages"]), told["packages"]
    lost = {found.uri.removeprefix(out): read_bytes(found.uri) for found in find(out)}
    quiet = f"{bucket}/nodes/quiet"
    subprocess.run(
        [sys.executable, "jobs/ingest.py", "--source", f"{bucket}/nodes/in", "--out", quiet],
        cwd=root, env=environment, capture_output=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    assert {found.uri.removeprefix(quiet): read_bytes(found.uri) for found in find(quiet)} == lost
