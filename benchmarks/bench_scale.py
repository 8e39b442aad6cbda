"""Many objects: listing and planning a prefix on an S3 server, and a manifest of 100,000 rows."""

import argparse
import hashlib
import os
import resource
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd
from _results import write_result

from rhoray.core.storage import stat, write_bytes
from rhoray.local.object_store import object_store
from rhoray.pipeline.sharded import plan_shards
from rhoray.sources.items import list_source, refuse_repeated, sample_uri
from rhoray.store.manifest import MANIFEST, Manifest, read_manifest, write_manifest

BUCKET = "bench"


def many_rows(count: int) -> pd.DataFrame:
    """Return manifest rows as varied as real ones: ids, hashes, formulas, four labels."""
    real = read_manifest(sample_uri()).rows
    rows = real.iloc[np.arange(count) % len(real)].reset_index(drop=True)
    ids = pd.Series([f"mp-{i}" for i in range(count)])
    noise = np.random.default_rng(0).normal(1, 0.1, count)
    return rows.assign(
        material_id=ids,
        source="s3://bucket/densities/" + ids + "_CHGCAR.gz",
        content_hash=[hashlib.sha256(i.encode()).hexdigest() for i in ids],
        shard=[f"part-{hashlib.sha256(str(i // 100).encode()).hexdigest()[:20]}.parquet" for i in range(count)],
        num_electrons=rows.num_electrons * noise,
        volume_per_atom=rows.volume_per_atom * noise,
        bulk_modulus=rows.bulk_modulus * noise,
        shear_modulus=rows.shear_modulus * noise,
    )


def list_and_plan(count: int) -> tuple[float, int]:
    """Put so many small objects into the bucket; return the seconds to list and plan them, and the shards."""
    base = f"s3://{BUCKET}/many"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda i: write_bytes(f"{base}/d{i % 10}/mp-{i}_CHGCAR.gz", b"x"), range(count)))
    started = time.perf_counter()
    items = list_source(base).items
    assert len(items) == count
    assert not refuse_repeated(items)
    tasks = plan_shards([asdict(item) for item in items], {"store": "compact"})
    return time.perf_counter() - started, len(tasks)


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--objects", type=int, default=10_000)
    parser.add_argument("--rows", type=int, default=100_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, object_store(Path(folder), BUCKET) as store:
        os.environ.update(store.environment)
        listing, shards = list_and_plan(args.objects)
        said = f"{args.objects} objects in 10 folders of one prefix: listed and planned into {shards} shards"
        lines = [
            f"{said} in {listing:.1f} s.",
            "",
            "| manifest rows | MB in the bucket | write, s | read, s | peak memory of the process until then, GB |",
            "| --- | --- | --- | --- | --- |",
        ]  # fmt: skip
        for count in (args.rows // 10, args.rows):
            uri = f"s3://{BUCKET}/manifest-{count}"
            rows = many_rows(count)
            times = [time.perf_counter()]
            write_manifest(Manifest(uri, rows, {"store": "compact"}))
            times.append(time.perf_counter())
            assert len(read_manifest(uri).written) == count
            times.append(time.perf_counter())
            found = stat(f"{uri}/{MANIFEST}")
            assert found is not None
            write, read = np.diff(times)
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
            lines.append(f"| {count} | {found.size / 1e6:.1f} | {write:.2f} | {read:.2f} | {peak:.2f} |")
    write_result("scale", "Many objects", "\n".join([*lines, ""]), ("pyarrow", "pandas", "s3fs"))


if __name__ == "__main__":
    main()
