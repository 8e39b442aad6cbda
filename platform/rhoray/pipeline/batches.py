"""Reading back: a Ray Dataset of compact densities, from which each consumer makes its own frames.

What travels through Ray is a density's bytes (some 10 kB), not its 8 MB frame: frames are made where they are used.
"""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import ray.data

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join, read_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.store.manifest import Manifest
from rhoray.store.shards import Row, row_density

# Compact datasets up to this size are kept in Ray's object store instead of being read anew each epoch.
CACHED_BYTES = 2**30


def density_dataset(manifest: Manifest, split: str) -> ray.data.Dataset:
    """Return the shard rows of one split, in shard order.

    Raises:
        DatasetError: the split is empty.
    """
    written = manifest.written
    chosen = written[written.split == split]
    if not len(chosen):
        raise DatasetError(f"{manifest.uri}: no densities in split {split!r}")
    shards = [
        {"uri": join(manifest.uri, str(shard)), "ids": ids.tolist()}
        for shard, ids in chosen.groupby("shard", sort=True).material_id
    ]
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(
        _read_rows, batch_size=1, batch_format="pyarrow"
    )
    return dataset.materialize() if chosen.bytes_out.sum() <= CACHED_BYTES else dataset


def _read_rows(batch: pa.Table) -> Iterator[pa.Table]:
    for task in batch.to_pylist():
        file = pq.ParquetFile(io.BytesIO(read_bytes(task["uri"])))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).replace_schema_metadata(None)
            mask = pa.array([i in set(task["ids"]) for i in table["material_id"].to_pylist()])
            if (kept := table.filter(mask)).num_rows:
                yield kept


def densities_of(tables: Iterable[Any]) -> Iterator[tuple[list[str], list[ChargeDensity]]]:
    """Turn Arrow batches of shard rows into ids and densities."""
    for table in tables:
        rows: list[Row] = table.to_pylist()
        yield [row["material_id"] for row in rows], [row_density(row) for row in rows]
