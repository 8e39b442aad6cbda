"""What every job that makes a dataset from a source does before and after its shards: check, order, commit, tidy."""

import logging
import re
from dataclasses import asdict
from typing import Any

import pandas as pd

from rhoray.core.errors import DatasetError, InputRefused
from rhoray.core.storage import exists, find, is_prefix, join, name_of, normalise, remove, remove_leftovers
from rhoray.pipeline.sharded import SHARD_NAME, ShardTask
from rhoray.sources.items import Item, Source, refuse_repeated
from rhoray.store.manifest import MANIFEST, Manifest, read_manifest, write_manifest
from rhoray.store.schema import MANIFEST_SCHEMA
from rhoray.store.shards import Row

logger = logging.getLogger(__name__)

REFUSED = "refused"
UNMATCHED = "unmatched_labels.csv"
SCF_TABLE = "scf.csv"
MOST_WARNINGS = 20


def without_own_tables(source: Source, labels: str | None, out: str) -> tuple[Item, ...]:
    """Return the items without the label table and without what lies in the dataset itself.

    Raises:
        DatasetError: none is left.
    """
    own = {normalise(labels)} if labels else set()
    own -= {source.uri}  # one table may hold structures and labels
    kept = tuple(i for i in source.items if not i.uri.startswith(f"{out}/") and not any(map(i.is_of, own)))
    if not kept:
        raise DatasetError(f"{source.uri}: nothing to ingest")
    return kept


def describe_items(items: tuple[Item, ...]) -> list[dict[str, Any]]:
    """Return the items as plain dicts; a repeated id's refusal is part of what its shard's bytes depend on."""
    refused = refuse_repeated(items)
    return [{**asdict(i), **({REFUSED: str(refused[i.uri])} if i.uri in refused else {})} for i in items]


def described_item(raw: dict[str, Any]) -> tuple[Item, str | None]:
    """Return an item of `describe_items`, and why it is refused or None."""
    return Item(**{key: value for key, value in raw.items() if key != REFUSED}), raw.get(REFUSED)


def check_out(out: str, tasks: list[ShardTask], *, overwrite: bool) -> None:
    """Refuse a place that holds a dataset made from something else.

    Raises:
        DatasetError: it does, or a dataset lies below it.
    """
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


def quarantined_row(item: Item, error: InputRefused) -> Row:
    """Return the manifest row of an input that was refused."""
    return {
        "material_id": item.material_id,
        "source": item.uri,
        "status": "quarantined",
        "code": error.code,
        "reason": str(error),
        "bytes_in": item.size,
        "bytes_out": 0,
    }


def in_order(rows: list[Row], items: tuple[Item, ...]) -> pd.DataFrame:
    """Return the manifest table in the order of the listing: one row per item, checked."""
    by_source = {row["source"]: row for row in rows}
    missing = [item.uri for item in items if item.uri not in by_source]
    if missing or len(rows) != len(items):
        raise DatasetError(f"{len(items)} went in, {len(rows)} came out; first missing: {missing[:1]}")
    table = pd.DataFrame([by_source[item.uri] for item in items])
    return table.reindex(columns=MANIFEST_SCHEMA.names)


def commit(manifest: Manifest, *, overwrite: bool) -> None:
    """Write the manifest, which makes the dataset, and tidy up after this run and earlier ones.

    Raises:
        DatasetError: a shard is gone, or another job has committed another dataset.
    """
    _check_complete(manifest, overwrite=overwrite)
    write_manifest(manifest)
    _remove_orphans(manifest)
    _warn_of(manifest)


def _check_complete(manifest: Manifest, *, overwrite: bool) -> None:
    """Check, just before a commit, that nobody else has changed the place meanwhile.

    Raises:
        DatasetError: a shard is gone, or another job has committed another dataset.
    """
    there = {stat.uri for stat in find(manifest.uri)} if is_prefix(manifest.uri) else set()
    gone = [uri for uri in manifest.shards if uri not in there]
    if gone:
        raise DatasetError(f"{gone[0]} is gone: does another job write to the same --out? Run again")
    if not overwrite and join(manifest.uri, MANIFEST) in there:
        committed = read_manifest(manifest.uri)
        if committed.card.get("plan") != manifest.card["plan"]:
            raise DatasetError(f"another job has committed another dataset to {manifest.uri}; choose another --out")
        if lost := sorted(set(committed.labels) - set(manifest.labels)):
            raise DatasetError(f"{manifest.uri} has labels {lost}, this run has none; give --labels, or --overwrite")


def _remove_orphans(manifest: Manifest) -> None:
    """Delete what the committed manifest does not name: leftovers of killed runs, or a replaced dataset's shards."""
    others = "|".join(re.escape(name) for name in (MANIFEST, UNMATCHED, SCF_TABLE))
    remove_leftovers(manifest.uri, re.compile(f"{SHARD_NAME.pattern}|{others}"))
    named = set(manifest.shards)
    for stat in find(manifest.uri):
        is_ours = SHARD_NAME.fullmatch(name_of(stat.uri)) and stat.uri == join(manifest.uri, name_of(stat.uri))
        if is_ours and stat.uri not in named:
            remove(stat.uri)


def _warn_of(manifest: Manifest) -> None:
    """Log the reasons of what was refused and what is odd, a few of each."""
    quarantined = manifest.quarantined
    for row in quarantined[:MOST_WARNINGS].itertuples():
        logger.warning("quarantined %s: %s", row.source, row.reason)
    if len(quarantined) > MOST_WARNINGS:
        logger.warning("%d more quarantined, their reasons are in the manifest", len(quarantined) - MOST_WARNINGS)
    odd = manifest.written.dropna(subset="warning")
    for row in odd[:MOST_WARNINGS].itertuples():
        logger.warning("%s: %s", row.source, row.warning)
    if len(odd) > MOST_WARNINGS:
        logger.warning("%d more with a warning, see the manifest", len(odd) - MOST_WARNINGS)
