"""The manifest: one row per material that went in, written or quarantined. It is the dataset's commit.

Shards that no manifest names do not exist for a reader: the manifest is written last, in one piece.
"""

import hashlib
import io
from dataclasses import dataclass
from typing import Any, Literal

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from pymatgen.core import Composition

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join, normalise, read_bytes, write_bytes
from rhoray.store.schema import MANIFEST_SCHEMA, SCHEMA_VERSION, card_of, with_metadata

MANIFEST = "manifest.parquet"
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


def write_manifest(manifest: Manifest) -> int:
    """Commit a dataset; return the bytes written.

    Raises:
        DatasetError: a material is written twice. A quarantined row may repeat an id: that can be its very fault.
    """
    written = manifest.written.material_id
    repeated = written[written.duplicated()]
    if len(repeated):
        raise DatasetError(f"material_id {repeated.iloc[0]!r} stands twice in the manifest")
    fields = [*MANIFEST_SCHEMA, *(pa.field(name, pa.float64()) for name in manifest.labels)]
    schema = with_metadata(pa.schema(fields), manifest.card)
    table = pa.Table.from_pandas(manifest.rows, schema=schema, preserve_index=False)
    buffer = io.BytesIO()
    pq.write_table(table.replace_schema_metadata(schema.metadata), buffer, compression="zstd")
    write_bytes(join(manifest.uri, MANIFEST), buffer.getvalue())
    return buffer.tell()


def splits_by(rows: pd.DataFrame, group: Group) -> pd.Series:
    """Return the split of each row such that no group stands on two sides.

    Args:
        rows: of a manifest.
        group: `formula`: the manifest's own column (polymorphs together, unless a label table says otherwise);
            `prototype` or `chemical_system`: harder, a whole structure type or system is held out.
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
