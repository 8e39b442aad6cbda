"""Three nodes that have RhoRay from its wheel and nothing else of it: nothing is shipped, and the job is the same."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import rhoray
from rhoray.pipeline.cluster import INSTALLED_VARIABLE

pytestmark = pytest.mark.cluster
SECONDS = 280
COUNT = 24
ROOT = Path(__file__).parents[2]

# A Ray of its own, in a process of its own: the suite's is another one.
SCRIPT = """
import json, os, subprocess, sys
from pathlib import Path
benchmarks, site, other, source, out, work = sys.argv[1:]
sys.path[:0] = [benchmarks]
from _cluster import nodes

ASK = '''
import json, ray
from rhoray.pipeline.cluster import connect
with connect():
    where = ray.remote(num_cpus=0)(lambda: __import__("rhoray").__file__)
    alive = [n["NodeID"] for n in ray.nodes() if n["Alive"]]
    print(json.dumps(ray.get([where.options(label_selector={"ray.io/node-id": n}).remote() for n in alive])))
'''
with nodes(3, PYTHONPATH=site) as cluster:
    environment = {**os.environ, "PYTHONPATH": site, "RAY_ADDRESS": cluster.address}

    def run(*command):
        return subprocess.run([sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True)

    asked = run("-c", ASK)
    job = run("-m", "rhoray.command", "jobs", "ingest", "--source", source, "--out", out)
    cluster.add(PYTHONPATH=other)
    refused = run("-m", "rhoray.command", "jobs", "ingest", "--source", source, "--out", out + "-refused")
told = {name: [r.returncode, r.stdout, r.stderr[-2000:]] for name, r in
        {"asked": asked, "job": job, "refused": refused}.items()}
print(json.dumps(told))
"""


@pytest.fixture(scope="module")
def told(store, built, bucket, tmp_path_factory):
    """What three programs said: which package each node uses, an ingest, and one with a node of another version."""
    from rhoray.core.storage import write_bytes
    from tests.unit.builders import chgcar_text, salt

    del store
    site, other, work = (tmp_path_factory.mktemp(name) for name in ("site", "other", "work"))
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(site)
    (other / "rhoray").mkdir()
    (other / "rhoray" / "__init__.py").write_text('__version__ = "0.0.1"\n')
    for i in range(COUNT):
        text = chgcar_text(salt((24, 24, 24), edge=5.5 + i / 100))
        write_bytes(f"{bucket}/installed/in/m{i:02}_CHGCAR", text.encode())
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONPATH")}
    # The script itself needs the package for its ports; it takes the wheel's, too.
    environment |= {INSTALLED_VARIABLE: "1", "PYTHONPATH": str(site)}
    arguments = [ROOT / "benchmarks", site, other, f"{bucket}/installed/in", f"{bucket}/installed/out", work]
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, *map(str, arguments)],
        cwd=work, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    return {**json.loads(done.stdout.splitlines()[-1]), "site": str(site)}


def test_every_node_uses_the_wheel(told):
    status, output, errors = told["asked"]
    assert status == 0, errors
    used = json.loads(output.splitlines()[-1])
    assert len(used) == 4  # the head too: Ray puts the controllers of training and tuning there
    assert all(where == f"{told['site']}/rhoray/__init__.py" for where in used), used


def test_a_job_writes_what_it_writes_elsewhere(told, root, bucket):
    from rhoray.core.storage import find, read_bytes

    status, output, errors = told["job"]
    assert status == 0, errors
    assert json.loads(output.splitlines()[-1])["written"] == COUNT
    quiet = f"{bucket}/installed/quiet"
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONPATH")}
    subprocess.run(
        [sys.executable, "jobs/ingest.py", "--source", f"{bucket}/installed/in", "--out", quiet],
        cwd=root, env=environment, capture_output=True, timeout=SECONDS, check=True,
    )  # fmt: skip
    one, other = (
        {found.uri.removeprefix(uri): read_bytes(found.uri) for found in find(uri)}
        for uri in (quiet, f"{bucket}/installed/out")
    )
    assert one == other


def test_a_node_with_another_version_is_refused(told):
    status, _, errors = told["refused"]
    assert status == 1
    last = errors.strip().splitlines()[-1]
    assert f"has RhoRay 0.0.1, expected {rhoray.__version__}" in last
    assert last.startswith("failed: node ")
