"""Reading back: Ray Datasets of shard rows, from which each consumer makes its own frames.

What travels through Ray is a density's bytes (some 10 kB in a compact store), not its 8 MB frame: frames are made
where they are used, on a worker's CPU or GPU.

    dataset = density_dataset(read_manifest("s3://bucket/densities/mine"), "train")
    for material_ids, frames in frames_of(dataset.iter_batches(batch_size=8, batch_format="pyarrow"), "cell", "cuda"):
        ...

`density_dataset` is one pass over a split; `plan_dataset` is all that a training worker reads, in its exact order.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray.data
import torch
from jaxtyping import Float
from ray.data import ExecutionResources, TaskPoolStrategy
from torch import Tensor

from rhoray.density.charge_density import ChargeDensity
from rhoray.models.frames import frames_tensor
from rhoray.pipeline.cluster import TASK_PATIENCE_S
from rhoray.pipeline.order import SHUFFLED_BYTES, Plan, crystals_of
from rhoray.store.manifest import Group, Manifest
from rhoray.store.shards import Row, read_row_groups, row_density

AS_TABLES: dict[str, Any] = {"batch_size": 1, "batch_format": "pyarrow"}
# One task fetches while the rows of the one before are consumed.
CHUNKS_AT_ONCE = 2


def density_dataset(manifest: Manifest, split: str, *, group: Group = "formula") -> ray.data.Dataset:
    """Return the shard rows of one split, in shard order.

    Args:
        manifest: of densities, in a compact or a grid store.
        split: `train`, `val` or `test`.
        group: what must not stand on two sides: see `store.manifest.splits_by`.

    Raises:
        DatasetError: the split is empty, or the group is not known.
    """
    crystals = crystals_of(manifest, split, group)
    ids: list[list[str]] = [[] for _ in crystals.uris]
    for shard, material_id in zip(crystals.shard, crystals.material_ids, strict=True):
        ids[shard].append(material_id)
    shards = [{"uri": uri, "ids": wanted} for uri, wanted in zip(crystals.uris, ids, strict=True)]
    return ray.data.from_items(shards, override_num_blocks=len(shards)).map_batches(_read_shards, **AS_TABLES)


def _read_shards(batch: pa.Table) -> Iterator[pa.Table]:
    for task in batch.to_pylist():
        yield from read_row_groups(task["uri"], set(task["ids"]))


def plan_dataset(plan: Plan) -> ray.data.Dataset:
    """Return everything that one training worker reads until its end, in the exact order of the plan.

    One execution serves all epochs, so that none of them begins with a wait. Tasks run a few chunks ahead of the
    consumer and no farther: neither the number of shards nor that of epochs costs memory.
    """
    chunks = [{"chunk": chunk} for chunk in plan.chunks()]
    dataset = ray.data.from_items(chunks, override_num_blocks=len(chunks))
    context = dataset.context
    context.execution_options.preserve_order = True
    context.execution_options.resource_limits = ExecutionResources(object_store_memory=2 * SHUFFLED_BYTES)
    # Ray takes a consumer that is busy for a stalled pipeline.
    context.execution_no_progress_timeout_s = TASK_PATIENCE_S
    return dataset.map_batches(
        _read_chunks,
        fn_kwargs={"plan": plan},
        compute=TaskPoolStrategy(size=CHUNKS_AT_ONCE),
        num_cpus=0,  # a few per cent of one; workers may hold every CPU that is left after a node is lost
        **AS_TABLES,
    )


def _read_chunks(batch: pa.Table, plan: Plan) -> Iterator[pa.Table]:
    for chunk in batch["chunk"].to_pylist():
        if (table := plan.read(chunk)).num_rows:
            yield table


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
