"""What a source offers: a list of items, each of which becomes one manifest row.

A source is a prefix of files (CHGCAR, CHG, cube, CIF, POSCAR; plain or compressed; Parquet tables of structures), a
dataset that RhoRay wrote, `sample:`, or `mp:` (see `materials_project`).
Planning only lists; reading happens later, one item at a time, wherever a worker runs.
"""

import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import overload

import pyarrow as pa
import pyarrow.compute as pc

from rhoray.core.errors import InputRefused, RhoRayError, StorageDown, TooLarge, Unavailable, UnknownFormat, Unreadable
from rhoray.core.storage import answers, is_transient, join, name_of, normalise, read_bytes, retry_storage, scan
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.decompress import DEFAULT_LIMIT
from rhoray.density.frames import FRAME_SHAPE
from rhoray.density.read import read_density
from rhoray.sources.materials_project import SCHEME as MATERIALS_PROJECT
from rhoray.sources.materials_project import list_materials_project
from rhoray.sources.structure_tables import SUFFIX, is_structure_table, row_uris, structure_table, structure_text
from rhoray.store.manifest import MANIFEST, Manifest, read_manifest, repeated_ids
from rhoray.store.shards import Row, read_shard, row_density

SAMPLE = "sample:"
ITEMS_AT_ONCE = 1000
ITEM_SCHEMA = pa.schema(
    [("material_id", pa.string()), ("uri", pa.string()), ("tag", pa.string()), ("size", pa.int64())]
)
_ID_END = re.compile(r"\.|_CHGCAR")
# Names that a code gives to every calculation; the folder is what tells them apart.
GENERIC_NAMES = frozenset({"CHGCAR", "CHG", "AECCAR0", "AECCAR1", "AECCAR2", "POSCAR", "CONTCAR"})
_STRUCTURE = re.compile(r"(POSCAR|CONTCAR|\.cif|\.vasp)(\.(gz|bz2|xz))?$", re.IGNORECASE)
_CHG = re.compile(r"(^|[_.-])CHG(\.(gz|bz2|xz))?$")
_NOT_VALENCE = re.compile(r"AECCAR[01]")


@dataclass(frozen=True, slots=True)
class Item:
    """One input.

    Attributes:
        material_id: key of its manifest row.
        uri: file, or shard or table and id of a row as `shard.parquet#id`.
        tag: changes when the content does (ETag or modification time).
        size: bytes in storage, 0 where the listing does not say.
    """

    material_id: str
    uri: str
    tag: str = ""
    size: int = 0

    def is_of(self, uri: str) -> bool:
        """Return whether this is a file, or a row of the table, at `uri`."""
        return _shard_and_row(self.uri)[0] == uri

    @property
    def name(self) -> str:
        """Name of the file, nothing for a row of one."""
        uri, row_id = _shard_and_row(self.uri)
        return "" if row_id else name_of(uri)


class Items(Sequence[Item]):
    """Items in a fixed order, kept as columns: a hundred bytes each, where an object of each would take five hundred.

    Args:
        table: columns material_id, uri, tag and size.
    """

    def __init__(self, table: pa.Table) -> None:
        self.table = table

    @classmethod
    def of(cls, items: Iterable[Item]) -> "Items":
        """Gather items, a batch of objects at a time."""
        batches = []
        remaining = iter(items)
        while batch := list(itertools.islice(remaining, ITEMS_AT_ONCE)):
            columns = [[getattr(item, name) for item in batch] for name in ITEM_SCHEMA.names]
            batches.append(pa.record_batch(columns, schema=ITEM_SCHEMA))
        return cls(pa.Table.from_batches(batches, ITEM_SCHEMA))

    def __len__(self) -> int:
        return self.table.num_rows

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> "Items": ...
    def __getitem__(self, index: int | slice) -> "Item | Items":
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            assert step == 1, "items are taken in order"
            return Items(self.table.slice(start, max(0, stop - start)))
        return next(iter(self[index : index + 1 or None]))

    def __iter__(self) -> Iterator[Item]:
        for batch in self.table.to_batches(max_chunksize=ITEMS_AT_ONCE):
            for row in zip(*(column.to_pylist() for column in batch.columns), strict=True):
                yield Item(*row)

    def only(self, kept: Callable[[Item], bool]) -> "Items":
        """Return those that `kept` says so of."""
        mask = pa.array([kept(item) for item in self], pa.bool_())
        return self if pc.all(mask).as_py() else Items(self.table.filter(mask))

    def repeated(self) -> "Items":
        """Return all items whose material_id is not theirs alone."""
        ids = self.table["material_id"]
        return Items(self.table.filter(pc.is_in(ids, repeated_ids(ids))))


@dataclass(frozen=True, slots=True)
class Source:
    """A listed source: items in a fixed order, and the manifest if it is a dataset."""

    uri: str
    items: Items
    manifest: Manifest | None = None


def list_source(uri: str, *, limit: int | None = None) -> Source:
    """List a source.

    Args:
        uri: `sample:`, `mp:…`, a dataset, a file, or any prefix of files.
        limit: take only the first so many items.

    Raises:
        RhoRayError: nothing is there.
    """
    if uri.startswith(MATERIALS_PROJECT):
        found = list_materials_project(uri)[:limit]
        return Source(uri, Items.of(Item(i, s.uri, s.tag, s.size) for i, s in found))
    uri = sample_uri() if uri == SAMPLE else normalise(uri)
    manifest_uri = join(uri, MANIFEST)
    listed = _listing(uri)
    if not listed.num_rows:
        raise RhoRayError(f"{uri}: nothing there, expected files or a dataset")
    if pc.any(pc.equal(listed["uri"], manifest_uri)).as_py():
        manifest = read_manifest(uri)
        written = manifest.written[:limit]
        items = Items.of(
            Item(row.material_id, f"{join(uri, row.shard)}#{row.material_id}", row.content_hash)
            for row in written.itertuples()
        )
        return Source(uri, items, manifest)
    items = _file_items(listed, limit)
    pa.default_memory_pool().release_unused()  # what sorting took, before the long part begins
    return Source(uri, items)


@retry_storage
def _listing(uri: str) -> pa.Table:
    """Return uri, tag and size of every object, in the order of their URIs."""
    try:
        stats = Items.of(Item("", stat.uri, stat.tag, stat.size) for stat in scan(uri))
    except FileNotFoundError:  # no such bucket
        return ITEM_SCHEMA.empty_table()
    return stats.table.sort_by("uri")


def _file_items(listed: pa.Table, limit: int | None) -> Items:
    """Return an item per file, or per row of a table of structures."""
    named = _names(lambda: (item.uri for item in Items(listed)))
    if not pc.any(pc.ends_with(listed["uri"], SUFFIX)).as_py():  # the columns stay where they are
        ids = pa.array(named, pa.string())
        return Items(listed.set_column(0, "material_id", ids))[:limit]
    return Items.of(itertools.islice(_files_and_rows(named, listed), limit))


def _files_and_rows(named: Iterator[str], listed: pa.Table) -> Iterator[Item]:
    for material_id, stat in zip(named, Items(listed), strict=True):
        table = structure_table(stat.uri, stat.tag) if stat.uri.endswith(SUFFIX) else None
        if table is None:
            yield Item(material_id, stat.uri, stat.tag, stat.size)
        else:
            uris = row_uris(stat.uri, table.ids)
            yield from (Item(i, uri, stat.tag) for i, uri in zip(table.ids, uris, strict=True))


def sample_uri() -> str:
    """Return where the packaged sample lies."""
    return normalise(str(files("rhoray") / "sample" / "densities"))


def material_ids(uris: list[str]) -> list[str]:
    """Return each file's stem up to the first dot or `_CHGCAR`.

    Where several files bear one of VASP's own names, their folders name them instead.

    Example:
        >>> material_ids(["s3://b/mp-1_CHGCAR.gz", "s3://b/x/CHGCAR", "s3://b/y/CHGCAR"])
        ['mp-1', 'x', 'y']
    """
    return list(_names(lambda: uris))


def _names(uris: Callable[[], Iterable[str]]) -> Iterator[str]:
    """Yield the ids of files; `uris` is called twice, for there may be too many files to keep."""
    counts = Counter(stem for stem in map(_stem, uris()) if stem in GENERIC_NAMES)
    for uri in uris():
        stem = _stem(uri)
        yield name_of(uri.rsplit("/", 1)[0]) if counts[stem] > 1 else stem


def _stem(uri: str) -> str:
    return _ID_END.split(name_of(uri), maxsplit=1)[0] or name_of(uri)


def read_item(item: Item, *, limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the density of one item.

    Raises:
        InputRefused: why it can't be used; Unavailable when the storage does not give it.
        StorageDown: the storage gives nothing at all.
    """
    return parse_item(fetch_item(item), name=item.name, limit=limit)


def fetch_item(item: Item) -> bytes | Row:
    """Return what the storage holds of one item: a file's bytes, or a dataset's row."""
    uri, row_id = _shard_and_row(item.uri)
    try:
        if row_id and not is_structure_table(uri):
            return _shard_rows(uri)[row_id]
        if item.size > DEFAULT_LIMIT:  # before it is in memory: a WAVECAR among the densities, say
            raise TooLarge(f"{item.size} bytes, expected at most {DEFAULT_LIMIT}; give the CHGCAR alone")
        content = structure_text(uri, item.tag, row_id) if row_id else read_bytes(uri)
    except InputRefused:
        raise
    except KeyError as error:
        raise Unavailable(f"{uri} has no row {row_id!r}; list the source anew, or ingest the dataset again") from error
    except Exception as error:
        raise _refusal(uri, error) from error
    if item.size and len(content) != item.size:
        raise Unavailable(
            f"{uri} has {len(content)} bytes, the listing said {item.size}: it changed meanwhile; "
            "run again with --overwrite"
        )
    return content


def parse_item(raw: bytes | Row, *, name: str = "", limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the density in what `fetch_item` brought.

    Args:
        raw: a file's bytes, or a dataset's row.
        name: of the file. A POSCAR in one that is called CHGCAR has lost its grid.
        limit: most bytes after decompression.
    """
    if not isinstance(raw, bytes):
        return row_density(raw)
    if found := _NOT_VALENCE.search(name):
        raise UnknownFormat(f"{found[0]} is a core or a superposed density; give the CHGCAR, or AECCAR2")
    density = read_density(raw, limit=limit)
    if density.kind == "promolecular" and "CHGCAR" in name.upper():
        raise Unreadable("truncated CHGCAR: it ends before its grid; copy it again, or name it POSCAR")
    return density


def is_compact(raw: bytes | Row) -> bool:
    """Return whether `fetch_item` brought a row of a compact store, which must not be compressed a second time."""
    return not isinstance(raw, bytes) and tuple(raw["grid"]) != FRAME_SHAPE


def _refusal(uri: str, error: Exception) -> Exception:
    """Return what a failed read means: for this object, for the whole storage, or for us."""
    if isinstance(error, PermissionError):
        return Unavailable(f"no permission to read {uri}; give the job's user or role read access, run again")
    if isinstance(error, FileNotFoundError):
        return Unavailable(
            f"{uri} can't be read: it is not there; put it back and run again, with --overwrite if it is "
            "another file now"
        )
    if is_transient(error) and not answers(uri):
        return StorageDown(f"the storage of {uri} does not answer ({error}); run again, what is finished is kept")
    if isinstance(error, OSError) or is_transient(error):
        return Unavailable(f"{uri} can't be read: {error}; check the storage, then run again")
    return error


def _shard_and_row(uri: str) -> tuple[str, str]:
    """Tell `shard.parquet#id` from a file; either name may hold a # too."""
    shard, sign, row_id = uri.partition(f"{SUFFIX}#")
    return (shard + SUFFIX, row_id) if sign else (uri, "")


@functools.lru_cache(maxsize=2)
def _shard_rows(uri: str) -> dict[str, dict]:
    return {row["material_id"]: row for row in read_shard(uri)}


def refuse_repeated(items: Iterable[Item]) -> dict[str, InputRefused]:
    """Return, by URI, the refusal of every item whose material_id another one has.

    A CHGCAR is taken before a CHG, which has fewer digits, and either before a structure; else the first one listed.
    """
    seen: dict[str, Item] = {}
    refused: dict[str, InputRefused] = {}
    repeated = (items if isinstance(items, Items) else Items.of(items)).repeated()
    for item in sorted(repeated, key=_rank):  # stable: the listing's order within a rank
        first = seen.setdefault(item.material_id, item)
        if first != item:
            refused[item.uri] = InputRefused(
                f"material_id {item.material_id!r} is already that of {first.uri}; rename one of the two"
            )
    return refused


def _rank(item: Item) -> int:
    uri, row_id = _shard_and_row(item.uri)
    if row_id and is_structure_table(uri):
        return 2
    return 2 if _STRUCTURE.search(item.name) else int(bool(_CHG.search(item.name)))
