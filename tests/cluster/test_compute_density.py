"""SCF densities on Ray: as close as the references, and kill -9 of a worker or of the driver changes no byte.

Needs GPAW; that the job says so without it is tested among the unit tests.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from importlib.util import find_spec

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Structure
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import DatasetError
from rhoray.core.storage import find, is_prefix, read_bytes, write_bytes
from rhoray.density.resample import fourier_resample
from rhoray.local.processes import descendants, title
from rhoray.pipeline import compute_density as module
from rhoray.pipeline.compute_density import ComputeConfig, compute_density
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

pytestmark = [
    pytest.mark.cluster,
    pytest.mark.skipif(find_spec("gpaw") is None, reason="GPAW is not installed (infra/gpaw/README.md)"),
]
REFERENCES = ("mp-2534", "mp-30", "mp-135", "mp-331", "mp-101", "mp-10015", "mp-23703", "mp-22916")
FARTHEST = 0.005
EDGES = {"Cu": 3.61, "Ag": 4.09, "Al": 4.05, "Ir": 3.84, "Pt": 3.92, "Ca": 5.58}


def table_of(crystals: dict[str, Structure]) -> bytes:
    texts = [Poscar(crystal).get_str(significant_figures=12) for crystal in crystals.values()]
    return pd.DataFrame({"material_id": list(crystals), "poscar": texts}).to_parquet(index=False)


def metal(symbol: str, edge: float) -> Structure:
    half = edge / 2
    return Structure([[0, half, half], [half, 0, half], [half, half, 0]], [symbol], [[0, 0, 0]])


@pytest.fixture(scope="module")
def source(cluster, bucket) -> str:
    """Six metals, and one for which there is no PAW set."""
    uri = f"{bucket}/compute/metals.parquet"
    write_bytes(uri, table_of({s: metal(s, edge) for s, edge in {**EDGES, "Tc": 3.9}.items()}))
    return uri


def content(uri: str) -> dict[str, bytes]:
    return {found.uri.removeprefix(uri): read_bytes(found.uri) for found in find(uri)}


@pytest.fixture(scope="module")
def undisturbed(source, bucket) -> dict[str, bytes]:
    out = f"{bucket}/compute/undisturbed"
    summary = compute_density(ComputeConfig(structures=source, out=out))
    assert (summary["computed"], summary["quarantined"], summary["taken_over"]) == (len(EDGES), 1, 0)
    assert summary["cpu_seconds"] > 0.1 * len(EDGES)
    return content(out)


def test_the_record_says_how_each_one_converged(undisturbed, bucket, tmp_path):
    (tmp_path / "scf.csv").write_bytes(undisturbed["/scf.csv"])
    record = pd.read_csv(tmp_path / "scf.csv").set_index("material_id")
    assert record.converged.to_dict() == {**dict.fromkeys(EDGES, True), "Tc": False}
    assert (record.attempts.dropna() == 1).all()
    assert (record.energy_ev.dropna() < 0).all()
    manifest = read_manifest(f"{bucket}/compute/undisturbed")
    assert manifest.card["scf"]["cutoff_ev"] == 350
    assert "no PAW set for Tc" in manifest.quarantined.reason[0]
    assert set(manifest.written.density_kind) == {"dft"}


@pytest.mark.shared
def test_eight_crystals_are_as_the_references(cluster, shared, bucket):
    loaded = {i: dict(np.load(shared / "data" / "densities" / f"{i}.npz")) for i in REFERENCES}
    crystals = {i: Structure(z["lattice"], z["species"], z["frac_coords"]) for i, z in loaded.items()}
    write_bytes(f"{bucket}/compute/eight.parquet", table_of(crystals))
    out = f"{bucket}/compute/eight"
    compute_density(ComputeConfig(structures=f"{bucket}/compute/eight.parquet", out=out))
    rows = [row for uri in read_manifest(out).shards for row in read_shard(uri)]
    assert len(rows) == len(REFERENCES)
    for row in rows:
        expected = loaded[row["material_id"]]["density"].astype(float)
        found = fourier_resample(row_density(row).values.astype(float), expected.shape)
        assert np.abs(found - expected).sum() < FARTHEST * expected.sum(), row["material_id"]


def finished(out: str) -> set[str]:
    return {found.uri for found in find(out) if "/part-" in found.uri} if is_prefix(out) else set()


def busy_workers() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if "_make_row" in title(pid)]


def test_a_killed_worker(undisturbed, source, bucket):
    out = f"{bucket}/compute/worker"
    done: list[dict] = []
    config = ComputeConfig(structures=source, out=out)
    thread = threading.Thread(target=lambda: done.append(compute_density(config)))
    thread.start()
    while thread.is_alive() and not ((busy := busy_workers()) and finished(out)):
        time.sleep(0.02)
    assert thread.is_alive(), "the kill came too late"
    os.kill(busy[-1], signal.SIGKILL)
    thread.join()
    assert done
    assert content(out) == undisturbed


def test_a_killed_driver_and_what_a_rerun_takes_over(undisturbed, source, bucket, root):
    out = f"{bucket}/compute/driver"
    command = [sys.executable, "jobs/compute_density.py", "--structures", source, "--out", out]
    process = subprocess.Popen(
        command, cwd=root, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
    )
    while process.poll() is None and len(finished(out)) < 2:
        time.sleep(0.02)
    assert process.poll() is None, "the kill came too late"
    process.kill()
    process.wait()
    with pytest.raises(DatasetError):
        read_manifest(out)
    kept = len(finished(out))
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout.splitlines()[-1])
    assert summary["taken_over"] >= kept >= 2
    assert summary["stages"]["scf_cpu"]["items"] <= len(EDGES) + 1 - kept
    assert content(out) == undisturbed


def test_another_accuracy_is_another_dataset(undisturbed, source, bucket):
    with pytest.raises(DatasetError, match="--overwrite"):
        compute_density(ComputeConfig(structures=source, out=f"{bucket}/compute/undisturbed", accuracy="standard"))


@pytest.fixture(scope="module")
def quick_and_slow(cluster, bucket) -> str:
    uri = f"{bucket}/compute/quick-and-slow.parquet"
    write_bytes(uri, table_of({"quick": metal("Al", EDGES["Al"]), "slow": metal("Cu", EDGES["Cu"]) * (2, 2, 2)}))
    return uri


@pytest.fixture(scope="module")
def unlimited(quick_and_slow, bucket) -> dict[str, bytes]:
    out = f"{bucket}/compute/unlimited"
    summary = compute_density(ComputeConfig(structures=quick_and_slow, out=out))
    assert summary["computed"] == 2
    assert summary["cpu_seconds"] > 3
    return content(out)


def test_what_takes_too_much_cpu_is_quarantined_until_the_limit_is_raised(unlimited, quick_and_slow, bucket):
    out = f"{bucket}/compute/limited"
    summary = compute_density(ComputeConfig(structures=quick_and_slow, out=out, cpu_limit=2))
    assert (summary["computed"], summary["quarantined"]) == (1, 1)
    (row,) = read_manifest(out).quarantined.itertuples()
    assert (row.material_id, row.code) == ("slow", "not-converged")
    assert "more than 2 CPU seconds; raise --cpu-limit" in row.reason
    summary = compute_density(ComputeConfig(structures=quick_and_slow, out=out))
    assert (summary["computed"], summary["taken_over"]) == (2, 1)
    assert content(out) == unlimited


def test_an_interrupted_run_under_a_lower_limit_costs_the_next_one_nothing(
    unlimited, quick_and_slow, bucket, monkeypatch
):
    out = f"{bucket}/compute/limited-and-interrupted"

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(module, "in_order", interrupted)
    with pytest.raises(KeyboardInterrupt):
        compute_density(ComputeConfig(structures=quick_and_slow, out=out, cpu_limit=2))
    monkeypatch.undo()
    assert len(finished(out)) == 2
    summary = compute_density(ComputeConfig(structures=quick_and_slow, out=out))
    assert (summary["computed"], summary["taken_over"]) == (2, 1)
    assert content(out) == unlimited
