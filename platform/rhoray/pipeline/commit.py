"""What every job that makes a dataset from a source does before and after its shards: check, order, commit, tidy."""

import logging
import re
import tempfile
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc

from rhoray.core.errors import DatasetError, InputRefused
from rhoray.core.storage import exists, find, is_prefix, join, name_of, normalise, remove, remove_leftovers
from rhoray.pipeline.sharded import SHARD_NAME, Made, ShardPlan
from rhoray.sources.items import Item, Items, Source, refuse_repeated
from rhoray.store.manifest import MANIFEST, QUARANTINED, WRITTEN, Manifest, manifest_table, read_head, write_tables
from rhoray.store.schema import MANIFEST_SCHEMA
from rhoray.store.shards import Row

logger = logging.getLogger(__name__)

REFUSED = "refused"
UNMATCHED = "unmatched_labels.csv"
SCF_TABLE = "scf.csv"
MOST_WARNINGS = 20


def without_own_tables(source: Source, labels: str | None, out: str) -> Items:
    """Return the items without the label table and without what lies in the dataset itself.

    Raises:
        DatasetError: none is left.
    """
    own = {normalise(labels)} if labels else set()
    own -= {source.uri}  # one table may hold structures and labels
    kept = source.items.only(lambda i: not i.uri.startswith(f"{out}/") and not any(map(i.is_of, own)))
    if not kept:
        raise DatasetError(f"{source.uri}: nothing to ingest")
    return kept


class DescribedItems(Sequence[dict[str, Any]]):
    """Items as plain dicts, each made when it is asked for.

    Args:
        items: what a source lists.
        refused: reason by URI; a refusal is part of what a shard's bytes depend on.
    """

    def __init__(self, items: Items, refused: dict[str, str]) -> None:
        self.items = items
        self.refused = refused

    def __len__(self) -> int:
        return len(self.items)

    @overload
    def __getitem__(self, index: int) -> dict[str, Any]: ...
    @overload
    def __getitem__(self, index: slice) -> "DescribedItems": ...
    def __getitem__(self, index: int | slice) -> "dict[str, Any] | DescribedItems":
        if isinstance(index, slice):
            return DescribedItems(self.items[index], self.refused)
        return self._described(self.items[index])

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return map(self._described, self.items)

    def _described(self, item: Item) -> dict[str, Any]:
        refused = self.refused.get(item.uri)
        return _as_dict(item) if refused is None else {**_as_dict(item), REFUSED: refused}


def _as_dict(item: Item) -> dict[str, Any]:
    # dataclasses.asdict would copy each value, which takes ten times as long.
    return {"material_id": item.material_id, "uri": item.uri, "tag": item.tag, "size": item.size}


def describe_items(items: Items) -> DescribedItems:
    """Return the items as plain dicts, with the refusals of repeated ids."""
    return DescribedItems(items, {uri: str(error) for uri, error in refuse_repeated(items).items()})


def described_item(raw: dict[str, Any]) -> tuple[Item, str | None]:
    """Return an item of `describe_items`, and why it is refused or None."""
    return Item(**{key: value for key, value in raw.items() if key != REFUSED}), raw.get(REFUSED)


def check_out(out: str, tasks: ShardPlan, *, overwrite: bool) -> None:
    """Refuse a place that holds a dataset made from something else.

    Raises:
        DatasetError: it does, or a dataset lies below it.
    """
    for stat in find(out) if is_prefix(out) else []:
        if name_of(stat.uri) == MANIFEST and stat.uri != join(out, MANIFEST):
            raise DatasetError(f"{out} contains the dataset {stat.uri.rsplit('/', 1)[0]}; choose a folder of its own")
    if overwrite or not exists(join(out, MANIFEST)):
        return
    if read_head(out)[0].get("plan") != sorted(tasks.names):
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


def in_order(rows: list[Row], items: Sequence[Item]) -> pd.DataFrame:
    """Return the manifest table in the order of the listing: one row per item, checked."""
    by_source = {row["source"]: row for row in rows}
    missing = [item.uri for item in items if item.uri not in by_source]
    if missing or len(rows) != len(items):
        raise DatasetError(f"{len(items)} went in, {len(rows)} came out; first missing: {missing[:1]}")
    table = pd.DataFrame([by_source[item.uri] for item in items])
    return table.reindex(columns=MANIFEST_SCHEMA.names)


class Draft:
    """A manifest whose shards are still being made: their rows wait on this machine's disk, not in its memory.

    Args:
        uri: of the dataset.
        tasks: what is made, in the order of the manifest.
        card: of the dataset.
    """

    def __init__(self, uri: str, tasks: ShardPlan, card: dict[str, Any]) -> None:
        self.uri = uri
        self.names = tasks.names
        self.card = card
        self.labels: list[str] = []
        self.counts: Counter[str] = Counter()
        self._tasks: ShardPlan | None = tasks
        self._index = {name: index for index, name in enumerate(tasks.names)}
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as this does
        self._places: dict[int, tuple[int, int]] = {}
        self._with_written: set[int] = set()

    def add(self, made: Made) -> None:
        """Take the rows of one shard.

        Raises:
            DatasetError: they are not one of each of its items, in order.
        """
        assert self._tasks is not None, "after forget_inputs"
        index = self._index[made.name]
        expected = [item["uri"] for item in self._tasks[index].items]
        if expected != [row["source"] for row in made.rows]:
            raise DatasetError(f"{made.name}: {len(expected)} went in, {len(made.rows)} came out, or others")
        table = pa.Table.from_pylist(made.rows, schema=MANIFEST_SCHEMA)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
            writer.write_table(table)
        content = sink.getvalue()
        self._places[index] = (self._file.tell(), content.size)
        self._file.write(content)
        found = Counter(row["status"] for row in made.rows)
        self.counts += found
        if found[WRITTEN]:
            self._with_written.add(index)

    def forget_inputs(self) -> None:
        """Let go of what the shards were made from; none can be added any more."""
        self._tasks = None

    @property
    def shards(self) -> list[str]:
        """URIs of the shards that hold anything, in order."""
        return [join(self.uri, self.names[index]) for index in sorted(self._with_written)]

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows shard by shard, in the order of the listing.

        Raises:
            DatasetError: a shard has not come.
        """
        for index, name in enumerate(self.names):
            if index not in self._places:
                raise DatasetError(f"{name} was never made")
            start, size = self._places[index]
            self._file.seek(start)
            yield pa.ipc.open_stream(self._file.read(size)).read_all()


def commit(manifest: Manifest, *, overwrite: bool) -> None:
    """Write the manifest, which makes the dataset, and tidy up after this run and earlier ones.

    Raises:
        DatasetError: a shard is gone, or another job has committed another dataset.
    """
    commit_tables(manifest, [manifest_table(manifest.rows, manifest.labels)], overwrite=overwrite)


def commit_tables(manifest: Manifest | Draft, tables: Iterable[pa.Table], *, overwrite: bool) -> int:
    """Write a manifest that comes in parts, and tidy up; return how many rows have a warning.

    Raises:
        DatasetError: a shard is gone, or another job has committed another dataset.
    """
    _check_complete(manifest, overwrite=overwrite)
    notes = _Notes()
    write_tables(manifest.uri, map(notes.heard, tables), manifest.labels, manifest.card)
    _remove_orphans(manifest)
    notes.log()
    return notes.odd


def _check_complete(manifest: Manifest | Draft, *, overwrite: bool) -> None:
    """Check, just before a commit, that nobody else has changed the place meanwhile.

    Raises:
        DatasetError: a shard is gone, or another job has committed another dataset.
    """
    there = {stat.uri for stat in find(manifest.uri)} if is_prefix(manifest.uri) else set()
    gone = [uri for uri in manifest.shards if uri not in there]
    if gone:
        raise DatasetError(f"{gone[0]} is gone: does another job write to the same --out? Run again")
    if not overwrite and join(manifest.uri, MANIFEST) in there:
        card, labels = read_head(manifest.uri)
        if card.get("plan") != manifest.card["plan"]:
            raise DatasetError(f"another job has committed another dataset to {manifest.uri}; choose another --out")
        if lost := sorted(set(labels) - set(manifest.labels)):
            raise DatasetError(f"{manifest.uri} has labels {lost}, this run has none; give --labels, or --overwrite")


def _remove_orphans(manifest: Manifest | Draft) -> None:
    """Delete what the committed manifest does not name: leftovers of killed runs, or a replaced dataset's shards."""
    others = "|".join(re.escape(name) for name in (MANIFEST, UNMATCHED, SCF_TABLE))
    remove_leftovers(manifest.uri, re.compile(f"{SHARD_NAME.pattern}|{others}"))
    named = set(manifest.shards)
    for stat in find(manifest.uri):
        is_ours = SHARD_NAME.fullmatch(name_of(stat.uri)) and stat.uri == join(manifest.uri, name_of(stat.uri))
        if is_ours and stat.uri not in named:
            remove(stat.uri)


class _Notes:
    """What was refused and what is odd: how many, and the reasons of a few."""

    def __init__(self) -> None:
        self.quarantined = 0
        self.odd = 0
        self._lines: dict[str, list[tuple[str, str]]] = {"quarantined": [], "odd": []}

    def heard(self, table: pa.Table) -> pa.Table:
        """Take note of a part of the manifest, and return it."""
        refused = table.filter(pc.equal(table["status"], QUARANTINED))
        odd = table.filter(pc.and_(pc.equal(table["status"], WRITTEN), pc.is_valid(table["warning"])))
        self.quarantined += refused.num_rows
        self.odd += odd.num_rows
        for kind, part, column in (("quarantined", refused, "reason"), ("odd", odd, "warning")):
            room = MOST_WARNINGS - len(self._lines[kind])
            few = part.slice(0, room)
            self._lines[kind] += zip(few["source"].to_pylist(), few[column].to_pylist(), strict=True)
        return table

    def log(self) -> None:
        """Say it."""
        for source, reason in self._lines["quarantined"]:
            logger.warning("quarantined %s: %s", source, reason)
        if self.quarantined > MOST_WARNINGS:
            logger.warning("%d more quarantined, their reasons are in the manifest", self.quarantined - MOST_WARNINGS)
        for source, warning in self._lines["odd"]:
            logger.warning("%s: %s", source, warning)
        if self.odd > MOST_WARNINGS:
            logger.warning("%d more with a warning, see the manifest", self.odd - MOST_WARNINGS)
