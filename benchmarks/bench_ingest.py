"""Ingest from an S3 server: RhoRay on Ray against the bare functions in a plain process pool, and its memory.

Takes the CHGCARs of --folder, or writes --count of them from the packaged sample on grids of at least 108^3 points.
The pool does the same work on each file (fetch, decompress, parse, check, compress, symmetry) and writes no shards.
Every figure includes the start of its worker processes; Ray itself is up before the clock starts.
"""

import argparse
import json
import multiprocessing
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from _memory import peak_memory
from _results import write_result

from rhoray.core.storage import find
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.resample import fourier_resample
from rhoray.density.vasp import write_chgcar
from rhoray.local.object_store import ObjectStore, object_store
from rhoray.pipeline.cluster import connect
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.sources.items import Item, list_source, read_item, sample_uri
from rhoray.store.describe import describe
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

BUCKET = "bench"
GRID = 108


def write_sample(folder: Path, count: int) -> None:
    """Write CHGCARs as large as Materials Project's median."""
    rows = (row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri))
    for row, _ in zip(rows, range(count), strict=False):
        density = row_density(row)
        values = fourier_resample(density.values, (GRID, GRID, GRID))
        fine = ChargeDensity(values, density.lattice, density.species, density.frac_coords)
        (folder / f"{row['material_id']}_CHGCAR").write_text(write_chgcar(fine))


def upload(folder: Path, store: ObjectStore) -> int:
    """Put the files into the bucket; return their bytes."""
    filesystem = store.filesystem()
    files = sorted(folder.iterdir())
    for path in files:
        filesystem.pipe_file(f"{BUCKET}/chgcars/{path.name}", path.read_bytes())
    return sum(path.stat().st_size for path in files)


def bare(item: Item) -> int:
    """Do to one file what ingest does, without Ray."""
    return describe(item.material_id, read_item(item), "compact")[1]["bytes_out"]


def run_pool(items: tuple[Item, ...], processes: int) -> float:
    """Return the seconds that a process pool needs."""
    started = time.monotonic()
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        assert len(list(pool.imap_unordered(bare, items))) == len(items)
    return time.monotonic() - started


def run_ingest(cpus: int, limit: int) -> tuple[dict, float]:
    """Return the summary of an ingest in a Ray of so many CPUs, and its peak memory in GB."""
    command = [sys.executable, __file__, "--child", str(cpus), "--limit", str(limit)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with peak_memory(process.pid) as peak:
        output, _ = process.communicate()
    assert process.returncode == 0
    return json.loads(output.splitlines()[-1]), peak.gigabytes


def child(cpus: int, limit: int) -> None:
    """Ingest in this process's own Ray."""
    out = f"s3://{BUCKET}/densities/{cpus}-{limit}-{time.time_ns()}"
    with connect(cpus):
        print(json.dumps(ingest(IngestConfig(source=f"s3://{BUCKET}/chgcars", out=out, limit=limit))))


def measure(folder: Path) -> str:
    """Return the tables."""
    with tempfile.TemporaryDirectory() as temporary, object_store(Path(temporary), BUCKET) as store:
        os.environ.update(store.environment)
        total = upload(folder, store)
        items = list_source(f"s3://{BUCKET}/chgcars").items
        count = len(items)
        run_pool(items[:4], 2)  # warms the server's and the system's caches
        rows, peaks = [], {}
        seconds = {}
        for name, cpus in (("process pool", 1), ("process pool", 2), ("ingest", 1), ("ingest", 2)):
            if name == "ingest":
                summary, peaks[cpus] = run_ingest(cpus, count)
                assert summary["written"] == count, summary
                seconds[name, cpus] = summary["seconds"]
                stages = summary["stages"]
            else:
                seconds[name, cpus] = run_pool(items, cpus)
            rate = count / seconds[name, cpus]
            rows.append(
                f"| {name} | {cpus} | {seconds[name, cpus]:.1f} | {rate:.2f} | {rate * total / count / 1e6:.0f} |"
            )
        few, peak_few = run_ingest(2, max(1, count // 4))
        stored = sum(stat.size for stat in find(few["out"]))
    share = seconds["process pool", 2] / seconds["ingest", 2]
    scaling = seconds["ingest", 1] / seconds["ingest", 2]
    lines = [
        f"{count} CHGCARs of {total / count / 1e6:.1f} MB from a SeaweedFS server on the same machine.",
        "",
        "| what | workers | seconds | files/s | MB/s |",
        "| --- | --- | --- | --- | --- |",
        *rows,
        "",
        f"Ingest reaches {100 * share:.0f} % of the process pool with two workers; two workers do {scaling:.2f} x one.",
        "",
        "| files | peak memory of the driver, Ray and all workers, GB |",
        "| --- | --- |",
        f"| {max(1, count // 4)} | {peak_few:.2f} |",
        f"| {count} | {peaks[2]:.2f} |",
        "",
        "| stage (2 workers) | items | MB | seconds of all workers |",
        "| --- | --- | --- | --- |",
        *(
            f"| {name} | {s['items']} | {s['bytes'] / 1e6:.1f} | {s['seconds']:.1f} |"
            for name, s in stages.items()
        ),
        "",
        f"In the bucket a density takes {stored / max(1, count // 4) / 1e3:.1f} kB, manifest included.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, help="CHGCARs to take")
    parser.add_argument("--count", type=int, default=40, help="how many to write where no folder is given")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.child, args.limit)
        return
    np.seterr(all="raise")
    with tempfile.TemporaryDirectory() as temporary:
        folder = args.folder or Path(temporary)
        if args.folder is None:
            write_sample(folder, args.count)
        body = measure(folder)
    write_result("ingest", "Ingest from S3", body, ("ray", "numpy", "scipy", "pyarrow", "pymatgen", "s3fs"))


if __name__ == "__main__":
    main()
