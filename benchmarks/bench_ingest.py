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
from _memory import cpu_seconds, peak_memory
from _results import write_result

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


def run_ingest(source: str, cpus: int, limit: int) -> tuple[dict, float]:
    """Return the summary of an ingest in a Ray of so many CPUs, and its peak memory in GB."""
    command = [sys.executable, __file__, "--child", str(cpus), "--limit", str(limit), "--folder", source]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    with peak_memory(process.pid) as peak:
        output, _ = process.communicate()
    assert process.returncode == 0
    summary = json.loads(output.splitlines()[-1])
    assert summary["written"] == limit, summary
    return summary, peak.gigabytes


def child(source: str, cpus: int, limit: int) -> None:
    """Ingest in this process's own Ray."""
    out = f"s3://{BUCKET}/densities/{time.time_ns()}"
    with connect(cpus):
        print(json.dumps(ingest(IngestConfig(source=source, out=out, limit=limit))))


def measure_speed(sources: dict[str, str], count: int, size: float) -> tuple[list[str], dict, float]:
    """Return lines on files per second, and the summary and peak memory of the run from S3 with two workers.

    Args:
        sources: where the same files lie, by name.
        count: files.
        size: bytes of a file.
    """
    rows, said = [], []
    for name, uri in sources.items():
        items = list_source(uri).items
        seconds: dict[tuple[str, int], float] = {}
        for cpus in (1, 2):
            seconds["process pool", cpus] = run_pool(items, cpus)
            summary, peak = run_ingest(uri, cpus, count)
            seconds["ingest", cpus] = summary["seconds"]
        for (what, cpus), found in sorted(seconds.items(), reverse=True):
            rate = count / found
            rows.append(f"| {name} | {what} | {cpus} | {found:.1f} | {rate:.2f} | {rate * size / 1e6:.0f} |")
        share = seconds["process pool", 2] / seconds["ingest", 2]
        scaling = {what: seconds[what, 1] / seconds[what, 2] for what in ("ingest", "process pool")}
        said.append(
            f"From {name}, ingest reaches {100 * share:.0f} % of the process pool with two workers; two workers do "
            f"{scaling['ingest']:.2f} x one (process pool: {scaling['process pool']:.2f} x)."
        )
        if uri.startswith("s3://"):
            kept = summary, peak
    head = ["| source | what | workers | seconds | files/s | MB/s |", "| --- | --- | --- | --- | --- | --- |"]
    return [*head, *rows, "", *said], *kept


def measure(folder: Path) -> str:
    """Return the tables."""
    with tempfile.TemporaryDirectory() as temporary, object_store(Path(temporary), BUCKET) as store:
        os.environ.update(store.environment)
        total = upload(folder, store)
        bucket = f"s3://{BUCKET}/chgcars"
        count = len(list_source(bucket).items)
        few = max(1, count // 4)
        run_pool(list_source(bucket).items[:4], 2)  # warms the server's and the system's caches
        speed, summary, peak = measure_speed({"S3": bucket, "local disk": str(folder)}, count, total / count)
        _, peak_few = run_ingest(bucket, 2, few)
        assert store.process is not None
        server = cpu_seconds(store.process.pid)
        run_pool(list_source(bucket).items, 2)
        server = (cpu_seconds(store.process.pid) - server) / count
    stages = summary["stages"]
    said = f"{count} CHGCARs of {total / count / 1e6:.1f} MB; the S3 server (SeaweedFS) runs on the same cores"
    lines = [
        f"{said} and takes {server:.3f} s of them for each file that it gives.",
        "",
        *speed,
        "",
        "| files | peak memory of the driver, Ray and all workers, GB |",
        "| --- | --- |",
        f"| {few} | {peak_few:.2f} |",
        f"| {count} | {peak:.2f} |",
        "",
        "| stage (S3, 2 workers) | items | MB | seconds of all workers |",
        "| --- | --- | --- | --- |",
        *(f"| {name} | {s['items']} | {s['bytes'] / 1e6:.1f} | {s['seconds']:.1f} |" for name, s in stages.items()),
        "",
        f"In the bucket a density takes {summary['bytes'] / count / 1e3:.1f} kB, manifest included.",
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", help="CHGCARs to take")
    parser.add_argument("--count", type=int, default=40, help="how many to write where no folder is given")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(args.folder, args.child, args.limit)
        return
    np.seterr(all="raise")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(args.folder or temporary).resolve()
        if args.folder is None:
            write_sample(folder, args.count)
        body = measure(folder)
    write_result("ingest", "Ingest from S3", body, ("ray", "numpy", "scipy", "pyarrow", "pymatgen", "s3fs"))


if __name__ == "__main__":
    main()
