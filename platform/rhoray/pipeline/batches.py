"""Reading back: a Ray Dataset of densities from either store, from which each consumer makes its own frames.

What travels through Ray is a density's bytes (some 10 kB in a compact store), not its 8 MB frame: frames are made
where they are used, on a worker's CPU or GPU.

    dataset = density_dataset(read_manifest("s3://bucket/densities/mine"), "train", seed=0)
    tables = dataset.iter_batches(
        batch_size=8, batch_format="pyarrow", local_shuffle_buffer_size=shuffled_rows(manifest))
    for material_ids, frames in frames_of(tables, "cell", "cuda"):
        ...
"""

import io
from collections.abc import Iterable, Iterator
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import ray.data
import torch
from jaxtyping import Float
from ray.data import RandomSeedConfig
from torch import Tensor

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join, read_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.models.frames import frames_tensor
from rhoray.store.manifest import Group, Manifest, splits_by
from rhoray.store.shards import Row, row_density

# Compact datasets up to this size are kept in Ray's object store instead of being read anew each epoch.
CACHED_BYTES = 2**30
# What a consumer keeps to draw from: many shards' worth of a compact store, and no more memory with a grid store.
MOST_SHUFFLED_ROWS = 2048
SHUFFLED_BYTES = 256 * 2**20
AS_TABLES: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}


def density_dataset(
    manifest: Manifest, split: str, *, group: Group = "formula", seed: int | None = None
) -> ray.data.Dataset:
    """Return the shard rows of one split.

    Args:
        manifest: of densities, in a compact or a grid store.
        split: `train`, `val` or `test`.
        group: what must not stand on two sides: see `store.manifest.splits_by`.
        seed: mix the shards anew in each epoch; in shard order without one. Rows of different shards mix in the
            consumer's shuffle buffer (`shuffled_rows`), so that only so many are ever in memory.

    Raises:
        DatasetError: the split is empty, or the group is not known.
    """
    written = manifest.written
    chosen = written[splits_by(written, group) == split]
    if not len(chosen):
        raise DatasetError(f"{manifest.uri}: no densities in split {split!r}")
    shards = [
        {"uri": join(manifest.uri, str(shard)), "ids": ids.tolist()}
        for shard, ids in chosen.groupby("shard", sort=True).material_id
    ]
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards))
    if seed is not None and not _fits_in_memory(chosen):
        # Before reading, where a shard is only its name.
        return dataset.randomize_block_order(seed=_each_epoch_anew(seed)).map_batches(_read_rows, **AS_TABLES)
    dataset = dataset.map_batches(_read_rows, **AS_TABLES)
    if not _fits_in_memory(chosen):
        return dataset
    dataset = dataset.materialize()
    return dataset if seed is None else dataset.randomize_block_order(seed=_each_epoch_anew(seed))


def shuffled_rows(manifest: Manifest) -> int:
    """Return how many rows a consumer should keep to draw from at random."""
    mean = max(1.0, float(manifest.written.bytes_out.mean()))
    return int(min(MOST_SHUFFLED_ROWS, max(1, SHUFFLED_BYTES // mean)))


def _fits_in_memory(rows: pd.DataFrame) -> bool:
    return bool(rows.bytes_out.sum() <= CACHED_BYTES)


def _each_epoch_anew(seed: int) -> RandomSeedConfig:
    return RandomSeedConfig(seed=seed, reseed_after_execution=True)


def _read_rows(batch: pa.Table) -> Iterator[pa.Table]:
    for task in batch.to_pylist():
        wanted = set(task["ids"])
        file = pq.ParquetFile(io.BytesIO(read_bytes(task["uri"])))
        for group in range(file.num_row_groups):
            table = file.read_row_group(group).replace_schema_metadata(None)
            mask = pa.array([i in wanted for i in table["material_id"].to_pylist()])
            if (kept := table.filter(mask)).num_rows:
                yield kept


def densities_of(tables: Iterable[Any]) -> Iterator[tuple[list[str], list[ChargeDensity]]]:
    """Turn Arrow batches of shard rows into ids and densities."""
    for table in tables:
        rows: list[Row] = table.to_pylist()
        yield [row["material_id"] for row in rows], [row_density(row) for row in rows]


def frames_of(
    tables: Iterable[Any], kind: str, device: torch.device | str = "cpu"
) -> Iterator[tuple[list[str], Float[Tensor, "b 1 128 128 128"]]]:
    """Turn Arrow batches of shard rows into ids and frames on `device`, e/A3."""
    for ids, densities in densities_of(tables):
        yield ids, frames_tensor(densities, kind, device)
