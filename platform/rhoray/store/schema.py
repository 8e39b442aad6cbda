"""The tables that RhoRay writes: columns, types and a version in the file's own metadata.

Plain Arrow types only, so that pyarrow (or any Parquet reader) is enough to read them.
"""

import json
from typing import Any

import pyarrow as pa

SCHEMA_VERSION = 2  # 2: space group, prototype and warning in the manifest
METADATA_KEY = b"rhoray"

DENSITY_SCHEMA = pa.schema(
    [
        pa.field("material_id", pa.string(), nullable=False),
        pa.field("formula", pa.string(), nullable=False),
        pa.field("density_kind", pa.string(), nullable=False),
        pa.field("grid", pa.list_(pa.int32(), 3), nullable=False),
        pa.field("values", pa.binary(), nullable=False),  # float16, little-endian, C order, e/A3
        pa.field("num_electrons", pa.float64(), nullable=False),
        pa.field("lattice", pa.list_(pa.float64(), 9), nullable=False),  # rows a, b, c in Angstrom
        pa.field("species", pa.list_(pa.string()), nullable=False),
        pa.field("frac_coords", pa.list_(pa.float64()), nullable=False),  # atoms x 3, C order
    ]
)

LATENT_SCHEMA = pa.schema(
    [
        *DENSITY_SCHEMA,
        pa.field("latent", pa.binary(), nullable=False),  # float32, little-endian, (16, 16, 16, 16)
        pa.field("density_error", pa.float64(), nullable=False),  # integral |d rho| / integral rho
    ]
)

MANIFEST_SCHEMA = pa.schema(
    [
        pa.field("material_id", pa.string(), nullable=False),
        pa.field("source", pa.string(), nullable=False),
        pa.field("status", pa.string(), nullable=False),  # written | quarantined
        pa.field("code", pa.string()),
        pa.field("reason", pa.string()),
        pa.field("content_hash", pa.string()),
        pa.field("formula", pa.string()),
        pa.field("density_kind", pa.string()),
        pa.field("num_atoms", pa.int32()),
        pa.field("num_electrons", pa.float64()),
        pa.field("mass_density", pa.float64()),  # g/cm3
        pa.field("volume_per_atom", pa.float64()),  # cubic Angstrom
        pa.field("crystal_system", pa.string()),
        pa.field("space_group_number", pa.int32()),  # 0: unknown
        pa.field("prototype", pa.string()),  # anonymous formula, Pearson symbol, space group: AB_cF8_225
        pa.field("warning", pa.string()),  # written, but something about it is odd
        pa.field("split", pa.string()),
        pa.field("shard", pa.string()),
        pa.field("density_error", pa.float64()),  # of its latent, in datasets of latents
        pa.field("bytes_in", pa.int64()),
        pa.field("bytes_out", pa.int64()),
    ]
)


def with_metadata(schema: pa.Schema, card: dict[str, Any]) -> pa.Schema:
    """Return the schema with a JSON card (and this version) in its metadata."""
    content = json.dumps({"schema_version": SCHEMA_VERSION, **card}, sort_keys=True)
    return schema.with_metadata({METADATA_KEY: content.encode()})


def card_of(schema: pa.Schema) -> dict[str, Any]:
    """Return the JSON card of a file that RhoRay wrote, {} of any other."""
    return json.loads((schema.metadata or {}).get(METADATA_KEY, b"{}"))
