"""Ingest: any source of densities becomes a dataset of shards with a manifest, on Ray Data."""

import logging
import re
import time
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

import rhoray
from rhoray.core.errors import InputRefused
from rhoray.core.stages import Stages
from rhoray.core.storage import find, join, normalise, remove, write_bytes
from rhoray.core.targets import with_derived
from rhoray.density.decompress import DEFAULT_LIMIT
from rhoray.pipeline.cluster import most_memory_of_a_node
from rhoray.pipeline.commit import (
    UNMATCHED,
    Draft,
    check_out,
    commit_tables,
    describe_items,
    described_item,
    quarantined_row,
    without_own_tables,
)
from rhoray.pipeline.sharded import Engine, ShardContent, ShardTask, plan_shards, run_sharded
from rhoray.sources.items import Item, Items, Source, fetch_item, is_compact, list_source, parse_item
from rhoray.sources.labels import SPLIT, read_labels
from rhoray.store.codec import BAND_TOLERANCE, StoreKind
from rhoray.store.describe import describe
from rhoray.store.manifest import MANIFEST, manifest_table
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA, SCHEMA_VERSION
from rhoray.store.shards import Row

logger = logging.getLogger(__name__)

MOST_ITEMS = {"compact": 256, "grid": 16}  # 16 frames are 64 MB

# Text, its numbers, their spectrum and what sorts it, and the next file: about this much for each byte of text.
MEMORY_PER_TEXT_BYTE = 6
TEXT_PER_COMPRESSED = 5
SMALL_TASK_BYTES = 2 * 2**30
COMPRESSED = re.compile(r"\.(gz|bz2|xz)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class IngestConfig:
    """What to ingest, where to, and how.

    Attributes:
        source: `sample:`, a dataset, a file or any prefix.
        out: URI of the dataset.
        labels: URI of a CSV or Parquet table, or None.
        store: `compact` or `grid`.
        limit: take only the first so many items.
        overwrite: replace a finished dataset that was made from something else.
    """

    source: str
    out: str
    labels: str | None = None
    store: StoreKind = "compact"
    limit: int | None = None
    overwrite: bool = False


def ingest(config: IngestConfig) -> dict[str, Any]:
    """Run an ingest on the connected Ray and commit its manifest.

    Returns:
        read, written, quarantined, bytes, seconds, out; how labels matched; warnings; and, by stage, items, bytes
        and seconds of all workers together.

    Raises:
        RhoRayError: nothing to read, a bad label table, or a dataset already at `out` that came from elsewhere.
    """
    started = time.monotonic()
    out = normalise(config.out)
    made = _make(config, out)
    pa.default_memory_pool().release_unused()  # what was listed has gone; a manifest is to be built in its place
    odd = _commit(made.draft, made.labels, overwrite=config.overwrite)
    own = {*made.draft.shards, join(out, MANIFEST)}
    return {
        "read": made.read,
        "written": made.draft.counts["written"],
        "quarantined": made.draft.counts["quarantined"],
        "bytes": sum(stat.size for stat in find(out) if stat.uri in own),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
        **made.matching,
        "warnings": odd,
        "stages": made.stages.summary(),
    }


@dataclass(frozen=True, slots=True)
class _Made:
    """All that is left of the inputs once every shard is there."""

    draft: Draft
    read: int
    labels: pd.DataFrame | None
    matching: dict[str, int]
    stages: Stages


def _make(config: IngestConfig, out: str) -> _Made:
    """List the source and make every shard."""
    labels = read_labels(config.labels) if config.labels else None
    stages = Stages()
    with stages.measure("list") as listed:
        source = list_source(config.source, limit=config.limit)
        listed.items = len(source.items) - 1
    items = without_own_tables(source, config.labels, out)
    settings = {
        "store": config.store, "tolerance": BAND_TOLERANCE, "schema": SCHEMA_VERSION, "code": rhoray.__version__,
    }  # fmt: skip
    tasks = plan_shards(describe_items(items), settings, most=MOST_ITEMS[config.store])
    check_out(out, tasks, overwrite=config.overwrite)
    engine = Engine("ingest", "densities", memory=_memory_of_a_task(items))
    draft = Draft(out, tasks, {"source": source.uri, "plan": sorted(tasks.names), **settings})
    for shard in run_sharded(tasks, ingest_shard, out, DENSITY_SCHEMA, engine):
        draft.add(shard)
        stages.add(shard.stages)
    draft.forget_inputs()
    if labels is None:
        labels, matching = _own_labels(source), {}
    else:
        matching = _write_unmatched(items, labels, out)
    return _Made(draft, len(items), _without_own_columns(labels), matching, stages)


def _commit(draft: Draft, labels: pd.DataFrame | None, *, overwrite: bool) -> int:
    """Commit with the labels joined; return how many rows have a warning."""
    if labels is None:
        return commit_tables(draft, draft.tables(), overwrite=overwrite)
    first = next(draft.tables()).to_pandas()
    draft.labels = [name for name in _with_labels(first, labels) if name not in MANIFEST_SCHEMA.names]
    joined = (manifest_table(_with_labels(t.to_pandas(), labels), draft.labels) for t in draft.tables())
    return commit_tables(draft, joined, overwrite=overwrite)


def _memory_of_a_task(items: Items) -> float | None:
    """Return the bytes that Ray must set aside for a task where files are huge, so that few of them run at once."""
    readable = (i for i in items if i.size <= DEFAULT_LIMIT)  # the others are refused unread
    largest = max((i.size * (TEXT_PER_COMPRESSED if COMPRESSED.search(i.uri) else 1) for i in readable), default=0)
    needed = float(MEMORY_PER_TEXT_BYTE * largest)
    room = most_memory_of_a_node()
    return None if needed < SMALL_TASK_BYTES or room is None else min(needed, room)


def ingest_shard(task: ShardTask) -> ShardContent:
    """Turn a task's items into shard rows and manifest rows; refusals become rows, never exceptions.

    The next item is fetched while this one is parsed: one in advance, so that memory stays bounded.
    """
    content = ShardContent([], [], Stages())
    items = [described_item(raw) for raw in task.items]
    with ThreadPoolExecutor(1) as ahead:
        coming: Future | None = None
        for index, (item, refused) in enumerate(items):
            fetched = coming or ahead.submit(_fetch, item, refused)
            coming = ahead.submit(_fetch, *items[index + 1]) if index + 1 < len(items) else None
            try:
                row, about = _read_one(item, fetched.result(), task.settings["store"], content.stages)
                content.rows.append(row)
            except InputRefused as error:
                about = quarantined_row(item, error)
            content.manifest_rows.append(about)
    return content


def _fetch(item: Item, refused: str | None) -> tuple[bytes | Row, float]:
    """Return what the storage holds, and the seconds it took."""
    if refused:
        raise InputRefused(refused)
    started = time.perf_counter()
    return fetch_item(item), time.perf_counter() - started


def _read_one(item: Item, fetched: tuple[bytes | Row, float], store: StoreKind, stages: Stages) -> tuple[Row, Row]:
    raw, seconds = fetched
    size = len(raw) if isinstance(raw, bytes) else len(raw["values"])
    stages.add({"fetch": {"items": 1, "bytes": size, "seconds": seconds}})
    with stages.measure("parse") as parsed:
        density = parse_item(raw, name=item.name)
        parsed.bytes += density.values.nbytes
    with stages.measure("compress") as compressed:
        row, about = describe(item.material_id, density, store, compact=is_compact(raw))
        compressed.bytes += about["bytes_out"]
    return row, {**about, "source": item.uri, "bytes_in": item.size}


def _own_labels(source: Source) -> pd.DataFrame | None:
    """Return the labels that a dataset brings along, None of any other source."""
    if source.manifest is None:
        return None
    known = source.manifest.written.set_index("material_id")
    return known[[*source.manifest.labels, SPLIT]]


def _without_own_columns(labels: pd.DataFrame | None) -> pd.DataFrame | None:
    taken = [] if labels is None else [n for n in labels.columns if n in MANIFEST_SCHEMA.names and n != SPLIT]
    if labels is None or not taken:
        return labels
    logger.warning("columns %s of the label table are left out: the manifest has its own", ", ".join(taken))
    return labels.drop(columns=taken)


def _with_labels(table: pd.DataFrame, labels: pd.DataFrame) -> pd.DataFrame:
    """Join labels by material_id and derive those that follow."""
    joined = labels.reindex(table.material_id).reset_index(drop=True)
    if SPLIT in joined:
        table[SPLIT] = joined.pop(SPLIT).fillna(table[SPLIT])
    known = {str(name): joined[name].to_numpy(float) for name in joined}
    with np.errstate(invalid="ignore", divide="ignore"):
        full = with_derived(known, table.mass_density.to_numpy(float), table.volume_per_atom.to_numpy(float))
    # A measured value beats a derived one.
    return table.assign(**{**full, **known})


def _write_unmatched(items: Items, labels: pd.DataFrame, out: str) -> dict[str, int]:
    """Say which ids did not match, and write all of them beside the dataset; return how many of either kind."""
    there = set(items.table["material_id"].to_pylist())
    unlabelled = [item.material_id for item in items if item.material_id not in labels.index]
    unused = labels.index[~labels.index.isin(there)].tolist()
    for ids, what in ((unlabelled, "densities without a label"), (unused, "labels without a density")):
        if ids:
            logger.warning("%d %s, first %s; all in %s", len(ids), what, ", ".join(ids[:3]), join(out, UNMATCHED))
    if unlabelled or unused:
        rows = [(i, "no label") for i in unlabelled] + [(i, "no density") for i in unused]
        content = pd.DataFrame(rows, columns=["material_id", "what"]).to_csv(index=False)
        write_bytes(join(out, UNMATCHED), content.encode())
    else:
        remove(join(out, UNMATCHED))
    return {"without_label": len(unlabelled), "label_unused": len(unused)}
