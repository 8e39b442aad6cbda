"""Parquet tables of structures: one crystal a row, as the text of a POSCAR or CIF in a column of that name.

Listing reads the ids alone; a row's text is read later, with its row group, where a worker needs it.
"""

import bisect
import functools
import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from rhoray.core.errors import Unreadable
from rhoray.core.storage import name_of, open_filesystem, retry_storage

SUFFIX = ".parquet"
KEY = "material_id"
# The first of these that a table has.
STRUCTURE_COLUMNS = ("poscar", "cif", "structure")
NAMES_KEPT = 64
TABLES_KEPT = 4
GROUPS_KEPT = 2
_ONE_READER = threading.Lock()


@dataclass(frozen=True, slots=True)
class StructureTable:
    """Where the rows of a table are.

    Attributes:
        column: the one with the structures.
        ids: of each row; its stem and row number where it has none.
        rows: the row of each id, the first where an id stands twice.
        starts: first row of each row group.
    """

    column: str
    ids: tuple[str, ...]
    rows: dict[str, int]
    starts: tuple[int, ...]


@functools.lru_cache(maxsize=NAMES_KEPT)
def is_structure_table(uri: str) -> bool:
    """Return whether a Parquet file that some item names is a table of structures and no shard."""
    return structure_table(uri, "") is not None


@functools.lru_cache(maxsize=TABLES_KEPT)
@retry_storage
def structure_table(uri: str, tag: str) -> StructureTable | None:
    """Return where the rows of a table of structures are, None if `uri` is anything else.

    Args:
        uri: of any object.
        tag: changes when its content does.
    """
    del tag  # part of the cache's key
    if not uri.endswith(SUFFIX):
        return None
    filesystem, path = open_filesystem(uri)
    with filesystem.open(path, "rb") as stream:
        try:
            file = pq.ParquetFile(stream)
            names = file.schema_arrow.names
            column = next((name for name in STRUCTURE_COLUMNS if name in names), None)
            if column is None:
                return None
            given = file.read([KEY])[KEY].to_pylist() if KEY in names else [None] * file.metadata.num_rows
        except (pa.ArrowException, OSError) as error:
            if _is_of_the_storage(error):
                raise
            return None  # damaged: as a file it is refused, with its reason
        sizes = [file.metadata.row_group(i).num_rows for i in range(file.num_row_groups)]
    stem = name_of(uri).removesuffix(SUFFIX)
    ids = tuple(f"{stem}-{row}" if i in (None, "") else str(i) for row, i in enumerate(given))
    rows = {row_id: row for row, row_id in reversed(list(enumerate(ids)))}
    starts = tuple(sum(sizes[:i]) for i in range(len(sizes)))
    return StructureTable(column, ids, rows, starts)


def _is_of_the_storage(error: Exception) -> bool:
    """Tell a storage's error from Arrow's, which reports damaged bytes as an OSError without a number too."""
    return isinstance(error, OSError) and error.errno is not None


def row_uris(uri: str, ids: Iterable[str]) -> list[str]:
    """Return `table.parquet#id` for each row; an id's second row is told apart by its number.

    Example:
        >>> row_uris("file:///t.parquet", ["a", "b", "a"])
        ['file:///t.parquet#a', 'file:///t.parquet#b', 'file:///t.parquet#a#2']
    """
    seen: Counter[str] = Counter()
    uris = []
    for row, row_id in enumerate(ids):
        uris.append(f"{uri}#{row_id}#{row}" if seen[row_id] else f"{uri}#{row_id}")
        seen[row_id] += 1
    return uris


def structure_text(uri: str, tag: str, row_id: str) -> bytes:
    """Return the text of one row's structure.

    Args:
        uri: a table of structures.
        tag: as listed.
        row_id: one of its ids.

    Raises:
        KeyError: no such row.
        Unreadable: the row holds no text.
    """
    with _ONE_READER:  # or every thread that waits for a row group would read it too
        table = structure_table(uri, tag)
        if table is None:
            raise KeyError(row_id)
        row = table.rows[row_id]
        group = bisect.bisect_right(table.starts, row) - 1
        text = _row_group(uri, tag, table.column, group)[row - table.starts[group]].as_py()
    if not isinstance(text, str | bytes) or not text.strip():
        raise Unreadable(f"column {table.column!r} holds {text!r:.40}, expected the text of a POSCAR or CIF")
    return text.encode() if isinstance(text, str) else text


@functools.lru_cache(maxsize=GROUPS_KEPT)
@retry_storage
def _row_group(uri: str, tag: str, column: str, group: int) -> pa.ChunkedArray:
    """Return one column of one row group; rows are asked for in order, so the same one comes again and again."""
    del tag  # part of the cache's key
    filesystem, path = open_filesystem(uri)
    with filesystem.open(path, "rb") as stream:
        try:
            return pq.ParquetFile(stream).read_row_group(group, columns=[column])[column]
        except (pa.ArrowException, OSError) as error:
            if _is_of_the_storage(error):
                raise
            raise Unreadable(f"row group {group} of {uri} is damaged ({error}); copy the table again") from error
