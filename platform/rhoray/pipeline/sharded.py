"""Run a function once per shard on Ray Data and gather its manifest rows: the engine of ingest and encode.

A task names everything that its shard depends on; the shard's name is a hash of that. A rerun finds the shards that
an interrupted run finished, and writes the same bytes to the same places for the rest. Nothing counts until the
caller commits the manifest.
"""

import functools
import hashlib
import json
import re
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import pyarrow as pa
import ray
import ray.data

from rhoray.core.errors import RhoRayError, StorageDown, Unavailable
from rhoray.core.stages import Stages, Summary
from rhoray.core.storage import exists, is_transient, join
from rhoray.pipeline.cluster import TASK_PATIENCE_S, for_small_results, num_cpus
from rhoray.pipeline.progress import progress_bar
from rhoray.store.shards import Row, read_card, read_shard, write_shard

# A shard is what a crash can cost, what the progress bar moves by, and what a reader fetches at once.
ITEMS_PER_SHARD = 64
MOST_ITEMS_PER_SHARD = 256
FEW_SHARDS = 16
BYTES_PER_SHARD = 2**30  # of input: a shard of large files must not take an hour either
MANY_SHARDS = 500
# Handed to Ray at a time where that many are more than the CPUs ask for: each task that waits there takes 50 kB of the
# driver's memory, and an autoscaler sees enough of them to start machines.
MOST_TASKS_AT_RAY = 64
TASKS_FOR_EACH_CPU = 2
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
    """What a process made of a task: rows for the shard, one manifest row per item, and what it took."""

    rows: list[Row]
    manifest_rows: list[Row]
    stages: Stages


class ShardPlan(Sequence[ShardTask]):
    """Tasks that are made when they are asked for: what a million items are is kept once, by whoever listed them.

    Args:
        items: JSON-able descriptions of the inputs; slices of them become tasks.
        settings: whatever else a shard's bytes depend on.
        bounds: of each task's items, one more than there are tasks.
    """

    def __init__(self, items: Sequence[dict[str, Any]], settings: dict[str, Any], bounds: list[int]) -> None:
        self.items = items
        self.settings = settings
        self.bounds = bounds
        self.names = [_name(self._items_of(i), settings) for i in range(len(self))]

    def __len__(self) -> int:
        return len(self.bounds) - 1

    @overload
    def __getitem__(self, index: int) -> ShardTask: ...
    @overload
    def __getitem__(self, index: slice) -> list[ShardTask]: ...
    def __getitem__(self, index: int | slice) -> ShardTask | list[ShardTask]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return ShardTask(self.names[index], self._items_of(range(len(self))[index]), self.settings)

    def _items_of(self, index: int) -> tuple[dict[str, Any], ...]:
        return tuple(self.items[self.bounds[index] : self.bounds[index + 1]])


def plan_shards(
    items: Sequence[dict[str, Any]], settings: dict[str, Any], *, most: int = MOST_ITEMS_PER_SHARD
) -> ShardPlan:
    """Cut items into tasks; the cut depends on the items alone, never on the cluster.

    Args:
        items: JSON-able descriptions of the inputs.
        settings: whatever else a shard's bytes depend on.
        most: items in one shard at most.
    """
    few, many = -(-len(items) // FEW_SHARDS), -(-len(items) // MANY_SHARDS)
    size = max(1, min(most, max(many, min(ITEMS_PER_SHARD, few))))
    bounds = [0]
    taken = 0
    for index, item in enumerate(items):
        if index - bounds[-1] == size or taken > BYTES_PER_SHARD:
            bounds.append(index)
            taken = 0
        taken += item.get("size", 0)
    return ShardPlan(items, settings, [*bounds, len(items)] if len(items) else bounds)


def _name(items: tuple[dict[str, Any], ...], settings: dict[str, Any]) -> str:
    return f"part-{_digest(items, settings)}.parquet"


def _digest(items: tuple[dict[str, Any], ...], settings: dict[str, Any]) -> str:
    content = json.dumps([items, settings], sort_keys=True).encode()
    return hashlib.sha256(content).hexdigest()[:20]


RUN_AGAIN = "run the job again, what is finished is kept"
Process = Callable[[ShardTask], ShardContent]


def make_shard(task: ShardTask, process: Process, out: str, schema: pa.Schema) -> tuple[list[Row], Stages]:
    """Make one shard, or take over the finished one that lies there; return its manifest rows and what it took."""
    uri = join(out, task.name)
    if exists(uri):
        finished = read_card(uri)["manifest"]
        # What the storage would not give may be there by now; what was made already stays.
        missing = {row["source"] for row in finished if row.get("code") == Unavailable.code}
        if not missing:
            return finished, Stages()
        content = _completed(task, finished, list(read_shard(uri)), missing, process)
    else:
        content = process(task)
    rows = [{**row, "shard": task.name if row["status"] == "written" else None} for row in content.manifest_rows]
    with content.stages.measure("write") as written:
        written.bytes += write_shard(uri, content.rows, schema, {"manifest": rows, "settings": task.settings})
    return rows, content.stages


def _completed(
    task: ShardTask, finished: list[Row], rows: list[Row], missing: set[str], process: Process
) -> ShardContent:
    """Return a shard's content with its missing items asked for again, all in the order of the items."""
    again = process(replace(task, items=tuple(item for item in task.items if item["uri"] in missing)))
    about = {row["source"]: row for row in [*finished, *again.manifest_rows]}
    by_id = {row["material_id"]: row for row in [*rows, *again.rows]}
    in_order = [about[item["uri"]] for item in task.items]
    written = [by_id[row["material_id"]] for row in in_order if row["status"] == "written"]
    return ShardContent(written, in_order, again.stages)


def _make_row(row: dict[str, bytes], process: Process, out: str, schema: pa.Schema) -> dict[str, str]:
    """Make one shard inside Ray Data, where a row is a dict of Arrow values and an error loses its type."""
    raw = json.loads(zlib.decompress(row["task"]))
    task = ShardTask(raw["name"], tuple(raw["items"]), raw["settings"])
    try:
        rows, stages = make_shard(task, process, out, schema)
    except Exception as error:
        if isinstance(error, RhoRayError):
            return {"failure": str(error), "result": ""}
        if is_transient(error):
            return {"failure": f"the storage of {out} does not answer: {error}; {RUN_AGAIN}", "result": ""}
        if isinstance(error, PermissionError):  # so it answers a machine whose clock is wrong, too
            said = f"the storage of {out} refuses a worker: {error}; check its rights and its machine's clock"
            return {"failure": f"{said}, then {RUN_AGAIN}", "result": ""}
        raise
    return {"failure": "", "result": json.dumps({"rows": rows, "stages": stages.summary(), "name": task.name})}


@dataclass(frozen=True, slots=True)
class Engine:
    """What one task needs, what the progress bar calls its items, and how long a task may be silent.

    Attributes:
        label: of the progress bar.
        unit: of the progress bar.
        cpus: of one task.
        gpus: of one task.
        memory: bytes that Ray sets aside for one task, None for no limit.
        patience_s: fail when no task has ended for so long, -1 never.
    """

    label: str
    unit: str
    cpus: float = 1
    gpus: float = 0
    memory: float | None = None
    patience_s: float = TASK_PATIENCE_S


@dataclass(frozen=True, slots=True)
class Made:
    """One finished shard's manifest rows, the stages of making it, and its name."""

    rows: list[Row]
    stages: Summary
    name: str = ""


def _tasks_at_ray(tasks: int) -> int:
    """Return how many of so many tasks Ray gets at a time."""
    return max(1, min(tasks, max(MOST_TASKS_AT_RAY, int(TASKS_FOR_EACH_CPU * num_cpus()))))


def _packed(task: ShardTask) -> bytes:
    """Return a task as it waits in the object store: paths repeat themselves, and there may be a million."""
    return zlib.compress(json.dumps({"name": task.name, "items": task.items, "settings": task.settings}).encode(), 1)


def run_sharded(
    tasks: Sequence[ShardTask], process: Process, out: str, schema: pa.Schema, engine: Engine
) -> Iterator[Made]:
    """Make every shard and yield each one as it is finished.

    Args:
        tasks: what to make.
        process: a picklable function; what it loads (a model) it should cache per worker process.
        out: URI of the dataset.
        schema: of the shards.
        engine: resources and words.

    Raises:
        StorageDown: the storage stopped answering; every finished shard stays for the next run.
    """
    dataset = ray.data.from_items(
        [{"task": _packed(task)} for task in tasks],
        override_num_blocks=len(tasks),
    ).map(
        functools.partial(_make_row, process=process, out=out, schema=schema),
        num_cpus=engine.cpus,
        num_gpus=engine.gpus,
        memory=engine.memory,
        concurrency=_tasks_at_ray(len(tasks)),
    )
    total = tasks.bounds[-1] if isinstance(tasks, ShardPlan) else sum(len(task.items) for task in tasks)
    with progress_bar(total, engine.label, engine.unit) as bar:
        for row in for_small_results(dataset, engine.patience_s).iter_rows():
            if row["failure"]:
                raise StorageDown(row["failure"])
            made = Made(**json.loads(row["result"]))
            bar.update(len(made.rows))
            yield made


def gather(made: Iterable[Made]) -> tuple[list[Row], Stages]:
    """Return the manifest rows of all shards, and the stages added up."""
    rows: list[Row] = []
    stages = Stages()
    for shard in made:
        rows += shard.rows
        stages.add(shard.stages)
    return rows, stages
