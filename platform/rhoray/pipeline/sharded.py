"""Run a function once per shard on Ray Data and gather its manifest rows: the engine of ingest and encode.

A task names everything that its shard depends on; the shard's name is a hash of that. A rerun finds the shards that
an interrupted run finished, and writes the same bytes to the same places for the rest. Nothing counts until the
caller commits the manifest.
"""

import functools
import hashlib
import json
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
import ray.data

from rhoray.core.storage import exists, join
from rhoray.pipeline.progress import progress_bar
from rhoray.store.shards import Row, read_card, write_shard

logger = logging.getLogger(__name__)

MOST_ITEMS_PER_SHARD = 256
SHARDS_OF_A_SMALL_SOURCE = 16
SHARD_NAME = re.compile(r"part-[0-9a-f]{20}\.parquet")


@dataclass(frozen=True, slots=True)
class ShardTask:
    """One shard to make.

    Attributes:
        name: file name below the dataset, derived from all that follows.
        items: JSON-able descriptions of its inputs.
        settings: whatever else its bytes depend on.
    """

    name: str
    items: tuple[dict[str, Any], ...]
    settings: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ShardContent:
    """What a process made of a task: rows for the shard, and one manifest row per item."""

    rows: list[Row]
    manifest_rows: list[Row]


def plan_shards(items: Sequence[dict[str, Any]], settings: dict[str, Any]) -> list[ShardTask]:
    """Cut items into tasks; the cut depends on the items alone, never on the cluster."""
    size = min(MOST_ITEMS_PER_SHARD, max(1, -(-len(items) // SHARDS_OF_A_SMALL_SOURCE)))
    groups = [tuple(items[i : i + size]) for i in range(0, len(items), size)]
    return [ShardTask(f"part-{_digest(group, settings)}.parquet", group, settings) for group in groups]


def _digest(items: tuple[dict[str, Any], ...], settings: dict[str, Any]) -> str:
    content = json.dumps([items, settings], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:20]


Process = Callable[[ShardTask], ShardContent]


def make_shard(task: ShardTask, process: Process, out: str, schema: pa.Schema) -> list[Row]:
    """Make one shard, or take over the finished one that lies there; return its manifest rows."""
    uri = join(out, task.name)
    if exists(uri):
        return read_card(uri)["manifest"]
    content = process(task)
    rows = [{**row, "shard": task.name if row["status"] == "written" else None} for row in content.manifest_rows]
    write_shard(uri, content.rows, schema, {"manifest": rows, "settings": task.settings})
    return rows


def _make_row(row: dict[str, str], process: Process, out: str, schema: pa.Schema) -> dict[str, str]:
    """Make one shard inside Ray Data, where a row is a dict of Arrow values."""
    raw = json.loads(row["task"])
    task = ShardTask(raw["name"], tuple(raw["items"]), raw["settings"])
    return {"rows": json.dumps(make_shard(task, process, out, schema))}


@dataclass(frozen=True, slots=True)
class Engine:
    """What one task needs, and what the progress bar calls its items."""

    label: str
    unit: str
    cpus: float = 1
    gpus: float = 0


def run_sharded(
    tasks: Sequence[ShardTask], process: Process, out: str, schema: pa.Schema, engine: Engine
) -> Iterator[list[Row]]:
    """Make every shard and yield each one's manifest rows as it is finished.

    Args:
        tasks: what to make.
        process: a picklable function; what it loads (a model) it should cache per worker process.
        out: URI of the dataset.
        schema: of the shards.
        engine: resources and words.
    """
    dataset = ray.data.from_items(
        [{"task": json.dumps({"name": t.name, "items": t.items, "settings": t.settings})} for t in tasks],
        override_num_blocks=len(tasks),
    ).map(
        functools.partial(_make_row, process=process, out=out, schema=schema),
        num_cpus=engine.cpus,
        num_gpus=engine.gpus,
    )
    total = sum(len(task.items) for task in tasks)
    with progress_bar(total, engine.label, engine.unit) as bar:
        for row in dataset.iter_rows():
            rows = json.loads(row["rows"])
            bar.update(len(rows))
            yield rows
