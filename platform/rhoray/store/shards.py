"""Write and read shards: Parquet files of densities or latents, each committed whole.

A row is a plain dict with the columns of the schema; `density_row` and `row_density` convert.
"""

import io
from collections.abc import Container, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from rhoray.core.storage import read_bytes, write_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.store.codec import decode_values
from rhoray.store.schema import card_of, with_metadata

Row = dict[str, Any]
ROW_GROUP = 32


def density_row(
    material_id: str,
    formula: str,
    density: ChargeDensity,
    values: bytes,
    grid: tuple[int, int, int],
) -> Row:
    """Return the shard row of a density whose values are already encoded.

    Args:
        material_id: key of its manifest row.
        formula: reduced formula.
        density: crystal, kind and electron count are taken from it.
        values: what `store.codec` made of its values.
        grid: points along a, b, c on which they were encoded.
    """
    return {
        "material_id": material_id,
        "formula": formula,
        "density_kind": density.kind,
        "grid": list(grid),
        "values": values,
        "num_electrons": density.n_electrons,
        "lattice": density.lattice.ravel().tolist(),
        "species": list(density.species),
        "frac_coords": density.frac_coords.ravel().tolist(),
    }


def row_density(row: Row) -> ChargeDensity:
    """Return the density of a compact row."""
    lattice = np.array(row["lattice"], dtype=float).reshape(3, 3)
    volume = float(abs(np.linalg.det(lattice)))
    na, nb, nc = (int(n) for n in row["grid"])
    return ChargeDensity(
        decode_values(row["values"], (na, nb, nc), row["num_electrons"] / volume),
        lattice,
        tuple(str(s) for s in row["species"]),
        np.array(row["frac_coords"], dtype=float).reshape(-1, 3),
        row["density_kind"],
    )


def write_shard(uri: str, rows: list[Row], schema: pa.Schema, card: dict[str, Any]) -> int:
    """Write rows as one shard; return its bytes.

    Args:
        uri: of the file.
        rows: of `density_row`, or of latents.
        schema: of the rows.
        card: how it was made, kept in the file's metadata.
    """
    table = pa.Table.from_pylist(rows, schema=with_metadata(schema, card))
    buffer = io.BytesIO()
    # float16 noise does not compress; zstd level 1 takes the little there is at memory speed.
    pq.write_table(
        table,
        buffer,
        compression="zstd",
        compression_level=1,
        row_group_size=ROW_GROUP,
        use_dictionary=["formula", "density_kind"],
        write_statistics=False,
    )
    write_bytes(uri, buffer.getvalue())
    return buffer.tell()


def read_shard(uri: str, columns: list[str] | None = None) -> Iterator[Row]:
    """Yield the rows of one shard, one row group in memory at a time.

    Args:
        uri: of the file.
        columns: only these; all when None.

    Raises:
        FileNotFoundError: the shard is not there.
    """
    file = pq.ParquetFile(io.BytesIO(read_bytes(uri)))
    for batch in file.iter_batches(batch_size=ROW_GROUP, columns=columns):
        yield from batch.to_pylist()


def read_row_groups(uri: str, wanted: Container[str]) -> Iterator[pa.Table]:
    """Yield the wanted rows of one shard as tables, a row group in memory at a time.

    Args:
        uri: of the file.
        wanted: material_ids.

    Raises:
        FileNotFoundError: the shard is not there.
    """
    file = pq.ParquetFile(io.BytesIO(read_bytes(uri)))
    for group in range(file.num_row_groups):
        table = file.read_row_group(group).replace_schema_metadata(None)
        mask = pa.array([i in wanted for i in table["material_id"].to_pylist()])
        if (kept := table.filter(mask)).num_rows:
            yield kept


def read_card(uri: str) -> dict[str, Any]:
    """Return a shard's card.

    Raises:
        FileNotFoundError: the shard is not there.
    """
    return card_of(pq.read_schema(io.BytesIO(read_bytes(uri))))
