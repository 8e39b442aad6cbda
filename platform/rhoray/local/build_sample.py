"""Make the packaged sample from a folder of densities and a label table; run once, kept to show where it came from.

Takes every crystal that is in both, prefers small grids, and of those the first by the hash of their ids, so that
nobody has chosen them by hand.
"""

import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import pandas as pd

import rhoray
from rhoray.core.storage import join, normalise, write_bytes
from rhoray.core.targets import with_derived
from rhoray.density.charge_density import ChargeDensity
from rhoray.local.npz import read_npz
from rhoray.store.codec import BAND_TOLERANCE
from rhoray.store.describe import describe
from rhoray.store.manifest import Manifest, write_manifest
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA
from rhoray.store.shards import Row, write_shard

LONGEST_AXIS = 48
SHARDS = 4
CARD = {
    "name": "RhoRay sample",
    "densities": "Computed by the RhoRay project: GPAW 26.7, PBE, PAW, plane waves to 350 eV, k-point density 1.6 A, "
    "spin-paired; valence electrons per cubic Angstrom, smooth part plus augmentation charge. CC0-1.0.",
    "structures_and_labels": "M. de Jong et al., Charting the complete elastic properties of inorganic crystalline "
    "compounds, Sci. Data 2, 150009 (2015), doi:10.1038/sdata.2015.9, Dryad doi:10.5061/dryad.h505v. CC0-1.0.",
    "labels": "bulk_modulus and shear_modulus: Voigt-Reuss-Hill averages in GPa from PBE elastic tensors. "
    "youngs_modulus (GPa) and debye_temperature (K) follow from them in closed form.",
    "splits": "train, val and test by a hash of the reduced formula: polymorphs stay together.",
}


def main() -> None:
    """Write the sample below --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--densities", type=Path, required=True, help="folder of <material_id>.npz")
    parser.add_argument("--labels", type=Path, required=True, help="Parquet with bulk_modulus, shear_modulus")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=300)
    args = parser.parse_args()
    labels = pd.read_parquet(args.labels).set_index("material_id")
    both = [p for p in args.densities.glob("*.npz") if p.stem in labels.index]
    densities = {p.stem: d for p in both if max((d := read_npz(p)).values.shape) <= LONGEST_AXIS}
    chosen = sorted(densities, key=lambda i: hashlib.sha256(i.encode()).hexdigest())[: args.count]
    out = normalise(str(args.out / "densities"))
    manifest_rows: list[Row] = []
    for index, ids in enumerate(np.array_split(sorted(chosen), SHARDS)):
        rows, about = zip(*(_rows(str(i), densities[str(i)], f"part-{index}.parquet") for i in ids), strict=True)
        write_shard(join(out, f"part-{index}.parquet"), list(rows), DENSITY_SCHEMA, {})
        manifest_rows += about
    table = pd.DataFrame(manifest_rows).reindex(columns=MANIFEST_SCHEMA.names)
    known = labels.loc[table.material_id, ["bulk_modulus", "shear_modulus"]].reset_index(drop=True)
    full = with_derived(
        {str(c): known[c].to_numpy() for c in known},
        table.mass_density.to_numpy(float),
        table.volume_per_atom.to_numpy(float),
    )
    card = {
        **CARD,
        "count": len(table),
        "store": "compact",
        "tolerance": BAND_TOLERANCE,
        "code": rhoray.__version__,
    }
    write_manifest(Manifest(out, table.assign(**full), card))
    write_bytes(normalise(str(args.out / "CARD.json")), json.dumps(card, indent=2).encode() + b"\n")
    print(f"{len(table)} of {len(both)} crystals, splits {table.split.value_counts().to_dict()}")


def _rows(material_id: str, source: ChargeDensity, shard: str) -> tuple[Row, Row]:
    row, about = describe(material_id, source, "compact")
    return row, {**about, "source": f"{shard}#{material_id}", "shard": shard, "bytes_in": 0}


if __name__ == "__main__":
    main()
