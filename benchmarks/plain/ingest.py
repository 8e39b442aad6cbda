"""What a user would write: a pool of processes that parses CHGCARs, compresses them and writes Parquet files.

    python plain/ingest.py CHGCARS OUT PROCESSES

Parsing, compression and symmetry are RhoRay's own functions; everything around them is what it takes at least. Prints
the seconds from the first file to the last table.
"""

import multiprocessing
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from rhoray.density.read import read_density
from rhoray.store.describe import describe
from rhoray.store.schema import DENSITY_SCHEMA

FILES_A_TABLE = 13


def convert(paths: list[Path], target: Path) -> list[dict[str, Any]]:
    """Write the densities of some files as one table; return what is to be known of each."""
    rows, about = [], []
    for path in paths:
        row, facts = describe(path.name.removesuffix("_CHGCAR"), read_density(path.read_bytes()), "compact")
        rows.append(row)
        about.append(facts)
    pq.write_table(pa.Table.from_pylist(rows, schema=DENSITY_SCHEMA), target, compression="zstd")
    return about


def main(source: Path, out: Path, processes: int) -> None:
    """Convert a folder."""
    started = time.monotonic()
    out.mkdir(parents=True)
    files = sorted(source.glob("*_CHGCAR"))
    parts = [files[i : i + FILES_A_TABLE] for i in range(0, len(files), FILES_A_TABLE)]
    jobs = [(part, out / f"part-{number:05}.parquet") for number, part in enumerate(parts)]
    with multiprocessing.get_context("spawn").Pool(processes) as pool:
        about = [row for rows in pool.starmap(convert, jobs, chunksize=1) for row in rows]
    pq.write_table(pa.Table.from_pylist(about), out / "manifest.parquet", compression="zstd")
    assert len(about) == len(files)
    print(time.monotonic() - started)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]))
