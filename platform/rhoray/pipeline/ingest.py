"""Ingest: any source of densities becomes a dataset of shards with a manifest, on Ray Data."""

import functools
import logging
import time
from collections import Counter
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

import rhoray
from rhoray.core.errors import DatasetError, InputRefused
from rhoray.core.storage import exists, find, is_prefix, join, name_of, normalise, remove
from rhoray.core.targets import with_derived
from rhoray.density.crystal import crystal_system, mass_density, reduced_formula, volume_per_atom
from rhoray.density.frames import FRAME_SHAPE
from rhoray.density.resample import fourier_resample
from rhoray.pipeline.sharded import SHARD_NAME, Engine, ShardContent, ShardTask, plan_shards, run_sharded
from rhoray.sources.items import Item, Source, list_source, read_item, refuse_repeated
from rhoray.sources.labels import SPLIT, read_labels
from rhoray.store.codec import BAND_TOLERANCE, StoreKind, encode_values, to_compact
from rhoray.store.manifest import MANIFEST, Manifest, read_manifest, split_of, write_manifest
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA
from rhoray.store.shards import Row, density_row

logger = logging.getLogger(__name__)


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
        read, written, quarantined, bytes, seconds, out; and how labels matched.

    Raises:
        RhoRayError: nothing to read, a bad label table, or a dataset already at `out` that came from elsewhere.
    """
    started = time.monotonic()
    out = normalise(config.out)
    labels = read_labels(config.labels) if config.labels else None
    source = list_source(config.source, limit=config.limit)
    items = _without_own_tables(source, config.labels, out)
    settings = {"store": config.store, "tolerance": BAND_TOLERANCE, "code": rhoray.__version__}
    tasks = plan_shards([asdict(item) for item in items], settings)
    _check_out(out, tasks, overwrite=config.overwrite)
    rows = [
        row
        for batch in run_sharded(
            tasks,
            functools.partial(_ingest_shard, refused=refuse_repeated(items)),
            out,
            DENSITY_SCHEMA,
            Engine("ingest", "densities"),
        )
        for row in batch
    ]
    table = _in_order(rows, items)
    table, matching = _with_labels(table, labels, source)
    counts = Counter(table.status)
    manifest = Manifest(out, table, {"source": source.uri, "plan": sorted(t.name for t in tasks), **settings})
    write_manifest(manifest)
    _remove_orphans(manifest)
    _warn(manifest)
    return {
        "read": len(items),
        "written": counts["written"],
        "quarantined": counts["quarantined"],
        "bytes": sum(stat.size for stat in find(out) if stat.uri in {*manifest.shards, join(out, MANIFEST)}),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
        **matching,
    }


def _without_own_tables(source: Source, labels: str | None, out: str) -> tuple[Item, ...]:
    own = {normalise(labels)} if labels else set()
    kept = tuple(i for i in source.items if i.uri not in own and not i.uri.startswith(f"{out}/"))
    if not kept:
        raise DatasetError(f"{source.uri}: nothing to ingest")
    return kept


def _check_out(out: str, tasks: list[ShardTask], *, overwrite: bool) -> None:
    for stat in find(out) if is_prefix(out) else []:
        if name_of(stat.uri) == MANIFEST and stat.uri != join(out, MANIFEST):
            raise DatasetError(f"{out} contains the dataset {stat.uri.rsplit('/', 1)[0]}; choose a folder of its own")
    if overwrite or not exists(join(out, MANIFEST)):
        return
    if read_manifest(out).card.get("plan") != sorted(task.name for task in tasks):
        raise DatasetError(
            f"{out} already holds a dataset made from other files or settings; "
            "choose another --out, or replace it with --overwrite"
        )


def _ingest_shard(task: ShardTask, refused: dict[str, InputRefused]) -> ShardContent:
    """Turn a task's items into shard rows and manifest rows; refusals become rows, never exceptions."""
    rows: list[Row] = []
    manifest_rows: list[Row] = []
    for raw in task.items:
        item = Item(**raw)
        try:
            if item.uri in refused:
                raise refused[item.uri]
            row, manifest_row = _read_one(item, task.settings["store"])
            rows.append(row)
        except InputRefused as error:
            manifest_row = _quarantined(item, error)
        manifest_rows.append(manifest_row)
    return ShardContent(rows, manifest_rows)


def _read_one(item: Item, store: StoreKind) -> tuple[Row, Row]:
    density = read_item(item)
    content_hash = density.content_hash
    density = to_compact(density)
    values = fourier_resample(density.values, FRAME_SHAPE) if store == "grid" else density.values
    encoded = encode_values(values)
    na, nb, nc = values.shape
    formula = reduced_formula(density)
    row = density_row(item.material_id, formula, density, encoded, (na, nb, nc))
    manifest_row = {
        "material_id": item.material_id,
        "source": item.uri,
        "status": "written",
        "content_hash": content_hash,
        "formula": formula,
        "density_kind": density.kind,
        "num_atoms": density.n_atoms,
        "num_electrons": density.n_electrons,
        "mass_density": mass_density(density),
        "volume_per_atom": volume_per_atom(density),
        "crystal_system": crystal_system(density),
        "split": split_of(formula),
        "bytes_in": item.size,
        "bytes_out": len(encoded),
    }
    return row, manifest_row


def _quarantined(item: Item, error: InputRefused) -> Row:
    return {
        "material_id": item.material_id,
        "source": item.uri,
        "status": "quarantined",
        "code": error.code,
        "reason": str(error),
        "bytes_in": item.size,
        "bytes_out": 0,
    }


def _in_order(rows: list[Row], items: tuple[Item, ...]) -> pd.DataFrame:
    """Return the manifest table in the order of the listing: one row per item, checked."""
    by_source = {row["source"]: row for row in rows}
    missing = [item.uri for item in items if item.uri not in by_source]
    if missing or len(rows) != len(items):
        raise DatasetError(f"{len(items)} went in, {len(rows)} came out; first missing: {missing[:1]}")
    table = pd.DataFrame([by_source[item.uri] for item in items])
    return table.reindex(columns=MANIFEST_SCHEMA.names)


def _with_labels(
    table: pd.DataFrame, labels: pd.DataFrame | None, source: Source
) -> tuple[pd.DataFrame, dict[str, int]]:
    """Join labels by material_id and derive those that follow; a dataset brings its own along."""
    matching: dict[str, int] = {}
    if labels is None and source.manifest is not None:
        known = source.manifest.rows.set_index("material_id")
        labels = known[[*source.manifest.labels, SPLIT]]
    elif labels is not None:
        ids = set(table.material_id)
        matching = {
            "without_label": int((~table.material_id.isin(set(labels.index))).sum()),
            "label_unused": int((~labels.index.isin(ids)).sum()),
        }
    if labels is None:
        return table, matching
    joined = labels.reindex(table.material_id).reset_index(drop=True)
    if SPLIT in joined:
        table[SPLIT] = joined.pop(SPLIT).fillna(table[SPLIT])
    known = {str(name): joined[name].to_numpy(float) for name in joined}
    with np.errstate(invalid="ignore", divide="ignore"):
        full = with_derived(known, table.mass_density.to_numpy(float), table.volume_per_atom.to_numpy(float))
    # A measured value beats a derived one.
    return table.assign(**{**full, **known}), matching


def _remove_orphans(manifest: Manifest) -> None:
    """Delete shards that the committed manifest does not name: leftovers, or a replaced dataset's."""
    named = set(manifest.shards)
    for stat in find(manifest.uri):
        is_ours = SHARD_NAME.fullmatch(name_of(stat.uri)) and stat.uri == join(manifest.uri, name_of(stat.uri))
        if is_ours and stat.uri not in named:
            remove(stat.uri)


def _warn(manifest: Manifest) -> None:
    for row in manifest.quarantined.itertuples():
        logger.warning("quarantined %s: %s", row.source, row.reason)
