"""Ingest: any source of densities becomes a dataset of shards with a manifest, on Ray Data."""

import logging
import re
import time
from collections import Counter
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import rhoray
from rhoray.core.errors import InputRefused
from rhoray.core.stages import Stages
from rhoray.core.storage import find, join, normalise, remove, write_bytes
from rhoray.core.targets import with_derived
from rhoray.density.decompress import DEFAULT_LIMIT
from rhoray.pipeline.cluster import most_memory_of_a_node
from rhoray.pipeline.commit import (
    UNMATCHED,
    check_out,
    commit,
    describe_items,
    described_item,
    in_order,
    quarantined_row,
    without_own_tables,
)
from rhoray.pipeline.sharded import Engine, ShardContent, ShardTask, gather, plan_shards, run_sharded
from rhoray.sources.items import Item, Source, fetch_item, is_compact, list_source, parse_item
from rhoray.sources.labels import SPLIT, read_labels
from rhoray.store.codec import BAND_TOLERANCE, StoreKind
from rhoray.store.describe import describe
from rhoray.store.manifest import MANIFEST, Manifest
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
    rows, taken = gather(run_sharded(tasks, ingest_shard, out, DENSITY_SCHEMA, engine))
    stages.add(taken.summary())
    table = in_order(rows, items)
    table, matching = _with_labels(table, labels, source)
    counts = Counter(table.status)
    manifest = Manifest(out, table, {"source": source.uri, "plan": sorted(t.name for t in tasks), **settings})
    commit(manifest, overwrite=config.overwrite)
    if labels is not None:
        _write_unmatched(table, labels, out)
    return {
        "read": len(items),
        "written": counts["written"],
        "quarantined": counts["quarantined"],
        "bytes": sum(stat.size for stat in find(out) if stat.uri in {*manifest.shards, join(out, MANIFEST)}),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
        **matching,
        "warnings": int(table.warning.notna().sum()),
        "stages": stages.summary(),
    }


def _memory_of_a_task(items: tuple[Item, ...]) -> float | None:
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


def _with_labels(
    table: pd.DataFrame, labels: pd.DataFrame | None, source: Source
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Join labels by material_id and derive those that follow; a dataset brings its own along."""
    matching: dict[str, int] = {}
    if labels is None and source.manifest is not None:
        known = source.manifest.written.set_index("material_id")
        labels = known[[*source.manifest.labels, SPLIT]]
    elif labels is not None:
        unlabelled, unused = _unmatched(table, labels)
        matching = {"without_label": len(unlabelled), "label_unused": len(unused)}
    if labels is None:
        return table, matching
    taken = [name for name in labels.columns if name in MANIFEST_SCHEMA.names and name != SPLIT]
    if taken:
        logger.warning("columns %s of the label table are left out: the manifest has its own", ", ".join(taken))
    labels = labels.drop(columns=taken)
    joined = labels.reindex(table.material_id).reset_index(drop=True)
    if SPLIT in joined:
        table[SPLIT] = joined.pop(SPLIT).fillna(table[SPLIT])
    known = {str(name): joined[name].to_numpy(float) for name in joined}
    with np.errstate(invalid="ignore", divide="ignore"):
        full = with_derived(known, table.mass_density.to_numpy(float), table.volume_per_atom.to_numpy(float))
    # A measured value beats a derived one.
    return table.assign(**{**full, **known}), matching


def _unmatched(table: pd.DataFrame, labels: pd.DataFrame) -> tuple[list[str], list[str]]:
    """Return the ids of densities without a label, and of labels without a density."""
    unlabelled = table.material_id[~table.material_id.isin(set(labels.index))].tolist()
    return unlabelled, labels.index[~labels.index.isin(set(table.material_id))].tolist()


def _write_unmatched(table: pd.DataFrame, labels: pd.DataFrame, out: str) -> None:
    """Say which ids did not match, and write all of them beside the dataset."""
    unlabelled, unused = _unmatched(table, labels)
    for ids, what in ((unlabelled, "densities without a label"), (unused, "labels without a density")):
        if ids:
            logger.warning("%d %s, first %s; all in %s", len(ids), what, ", ".join(ids[:3]), join(out, UNMATCHED))
    if not unlabelled and not unused:
        remove(join(out, UNMATCHED))
        return
    rows = [(i, "no label") for i in unlabelled] + [(i, "no density") for i in unused]
    content = pd.DataFrame(rows, columns=["material_id", "what"]).to_csv(index=False)
    write_bytes(join(out, UNMATCHED), content.encode())
