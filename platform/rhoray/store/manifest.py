"""The manifest: one row per material that went in, written or quarantined. It is the dataset's commit.

Shards that no manifest names do not exist for a reader: the manifest is written last, in one piece.
"""

import hashlib
import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pymatgen.core import Composition

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join, normalise, read_bytes, write_bytes
from rhoray.store.schema import MANIFEST_SCHEMA, SCHEMA_VERSION, card_of, with_metadata

MANIFEST = "manifest.parquet"
ROW_GROUP = 1024  # of 8192, the writer would take 12 MB more
WRITTEN = "written"
QUARANTINED = "quarantined"
Group = Literal["formula", "prototype", "chemical_system"]
SPLITS = (("train", 0.7), ("val", 0.1), ("test", 0.2))


@dataclass(frozen=True, slots=True)
class Manifest:
    """A dataset's table of materials.

    Attributes:
        uri: the dataset.
        rows: columns of MANIFEST_SCHEMA, then one float column per label.
        card: what the dataset is: kind, settings, counts.
    """

    uri: str
    rows: pd.DataFrame
    card: dict[str, Any]

    @property
    def written(self) -> pd.DataFrame:
        """The materials that are in a shard, in shard order."""
        return self.rows[self.rows.status == WRITTEN].reset_index(drop=True)

    @property
    def quarantined(self) -> pd.DataFrame:
        """What was refused, with its reason."""
        return self.rows[self.rows.status == QUARANTINED].reset_index(drop=True)

    @property
    def shards(self) -> list[str]:
        """URIs of the shards, each once, in order."""
        return [join(self.uri, name) for name in dict.fromkeys(self.written.shard)]

    @property
    def labels(self) -> list[str]:
        """Names of the label columns."""
        return [c for c in self.rows.columns if c not in MANIFEST_SCHEMA.names]


def read_manifest(uri: str) -> Manifest:
    """Return a dataset's manifest.

    Raises:
        DatasetError: there is none (nothing was ingested there, or it has not finished), or its version is newer.
    """
    try:
        content = read_bytes(join(uri, MANIFEST))
    except FileNotFoundError as error:
        raise DatasetError(f"{uri} holds no {MANIFEST}: not a dataset, or its job has not finished") from error
    table = pq.read_table(io.BytesIO(content))
    card = card_of(table.schema)
    if card.get("schema_version", 0) > SCHEMA_VERSION:
        raise DatasetError(
            f"{uri} has schema version {card['schema_version']}, this RhoRay reads up to {SCHEMA_VERSION}"
        )
    rows = table.to_pandas()
    added = [name for name in MANIFEST_SCHEMA.names if name not in rows]  # since an older version wrote it
    return Manifest(normalise(uri), rows.assign(**dict.fromkeys(added)), card)


def read_head(uri: str) -> tuple[dict[str, Any], list[str]]:
    """Return a dataset's card and the names of its labels, without its rows.

    Raises:
        FileNotFoundError: there is no manifest.
    """
    schema = pq.read_schema(io.BytesIO(read_bytes(join(uri, MANIFEST))))
    return card_of(schema), [name for name in schema.names if name not in MANIFEST_SCHEMA.names]


def write_manifest(manifest: Manifest) -> int:
    """Commit a dataset; return the bytes written.

    Raises:
        DatasetError: a material is written twice. A quarantined row may repeat an id: that can be its very fault.
    """
    return write_tables(manifest.uri, [manifest_table(manifest.rows, manifest.labels)], manifest.labels, manifest.card)


def manifest_schema(labels: list[str]) -> pa.Schema:
    """Return the schema of a manifest with these labels."""
    return pa.schema([*MANIFEST_SCHEMA, *(pa.field(name, pa.float64()) for name in labels)])


def manifest_table(rows: pd.DataFrame, labels: list[str]) -> pa.Table:
    """Return rows of a manifest as they are written.

    Args:
        rows: one a material, with the columns of docs/reference/datasets.md.
        labels: names of the label columns.
    """
    table = pa.Table.from_pandas(rows, schema=manifest_schema(labels), preserve_index=False)
    return table.replace_schema_metadata(None)


def write_tables(uri: str, tables: Iterable[pa.Table], labels: list[str], card: dict[str, Any]) -> int:
    """Commit a dataset whose manifest comes in parts, none of which is kept; return the bytes written.

    Args:
        uri: folder of the dataset, whose shards are there.
        tables: of `manifest_table`.
        labels: names of the label columns.
        card: how the dataset was made, kept in the manifest's metadata.

    Raises:
        DatasetError: a material is written twice.
    """
    schema = with_metadata(manifest_schema(labels), card)
    buffer, ids = io.BytesIO(), []
    with pq.ParquetWriter(buffer, schema, compression="zstd") as writer:
        for table in _of_many_rows(tables):
            ids += table["material_id"].filter(pc.equal(table["status"], WRITTEN)).chunks
            writer.write_table(table.cast(schema))
    if len(repeated := repeated_ids(pa.chunked_array(ids, pa.string()))):
        raise DatasetError(f"material_id {repeated[0].as_py()!r} stands twice in the manifest")
    write_bytes(join(uri, MANIFEST), buffer.getvalue())
    return buffer.tell()


def repeated_ids(ids: pa.ChunkedArray) -> pa.Array:
    """Return the ids that stand there more than once, each once.

    Of a million ids a table of counts takes 66 MB, their order 20.
    """
    in_order = ids.combine_chunks().take(pc.sort_indices(ids))
    return in_order[1:].filter(pc.equal(in_order[1:], in_order[:-1])).unique()


def _of_many_rows(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Join small tables: a row group of a few rows costs as much as one of many."""
    waiting: list[pa.Table] = []
    for table in tables:
        waiting.append(table)
        if sum(part.num_rows for part in waiting) >= ROW_GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting = []
    if waiting:
        yield pa.concat_tables(waiting).combine_chunks()


def splits_by(rows: pd.DataFrame, group: Group) -> pd.Series:
    """Return the split of each row such that no group stands on two sides.

    Args:
        rows: of a manifest.
        group: `formula`: the manifest's own column (polymorphs together, unless a label table says otherwise);
            `prototype` or `chemical_system`: harder, a whole structure type or system is held out.

    Raises:
        DatasetError: an older version wrote rows without such a column.
    """
    if group == "formula":
        return rows.split
    labels = rows.prototype if group == "prototype" else rows.formula.map(chemical_system)
    if labels.isna().any():
        raise DatasetError(f"{int(labels.isna().sum())} crystals without a {group}: ingested by an older version?")
    return labels.map(split_of)


def chemical_system(formula: str) -> str:
    """Return the elements of a formula, such as `Fe-O`."""
    return Composition(formula).chemical_system


def split_of(group: str) -> str:
    """Return train, val or test for a reduced formula: the same for all its polymorphs, in every dataset.

    The formula (or whatever else groups) alone decides, so that growing a dataset never moves a compound across.
    """
    digest = hashlib.sha256(group.encode()).digest()
    point = int.from_bytes(digest[:8], "big") / 2**64
    for name, share in SPLITS:
        if point < share:
            return name
        point -= share
    return SPLITS[-1][0]
