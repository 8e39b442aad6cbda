"""Make the dataset on which the shipped encoder is trained; run once per release.

Promolecular densities of a table of structures, and DFT densities of some of them.
Both views of a compound have the split that the table gives it. A density whose compound the table does not hold goes
to neither side. The result is a dataset like any other, for `jobs/train_ae.py --data`.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

import rhoray
from rhoray.core.errors import InputRefused
from rhoray.core.storage import join, normalise
from rhoray.density.read import read_density
from rhoray.local.npz import read_npz
from rhoray.store.codec import BAND_TOLERANCE
from rhoray.store.describe import describe
from rhoray.store.manifest import Manifest, write_manifest
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA
from rhoray.store.shards import Row, write_shard

ROWS_PER_SHARD = 256
DFT_SUFFIX = "-dft"  # a compound's second view needs an id of its own


def main() -> None:
    """Write the dataset to --out."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--structures", type=Path, required=True, help="Parquet with material_id, split and poscar")
    parser.add_argument("--densities", type=Path, required=True, help="folder of <material_id>.npz")
    parser.add_argument("--out", required=True, metavar="URI")
    parser.add_argument(
        "--train-points",
        type=int,
        default=0,
        metavar="N",
        help="leave out training crystals on grids of up to N points: a network whose latent holds them whole "
        "(zones: 65536) has nothing to learn from them",
    )
    parser.add_argument("--seed", type=int, default=0, help="of the order of the rows")
    args = parser.parse_args()
    table = pd.read_parquet(args.structures).set_index("material_id")
    out = normalise(args.out)
    wanted = [*table.index, *(p.stem + DFT_SUFFIX for p in args.densities.glob("*.npz") if p.stem in table.index)]
    order = np.random.default_rng(args.seed).permutation(sorted(wanted))
    written: list[Row] = []
    shard: list[Row] = []
    for row, about in _described([str(i) for i in order], table, args.densities):
        if about["split"] == "train" and np.prod(row["grid"]) <= args.train_points:
            continue
        name = f"part-{len(written) // ROWS_PER_SHARD:03d}.parquet"
        shard.append(row)
        written.append({**about, "source": about["material_id"], "shard": name, "bytes_in": 0})
        if len(shard) == ROWS_PER_SHARD:
            write_shard(join(out, name), shard, DENSITY_SCHEMA, {})
            shard = []
    if shard:
        write_shard(join(out, written[-1]["shard"]), shard, DENSITY_SCHEMA, {})
    rows = pd.DataFrame(written).reindex(columns=MANIFEST_SCHEMA.names)
    card = {"name": "encoder", "store": "compact", "tolerance": BAND_TOLERANCE, "code": rhoray.__version__}
    write_manifest(Manifest(out, rows, card))
    print(f"{len(rows)} of {len(wanted)} densities: {rows.groupby(['density_kind', 'split']).size().to_dict()}")


def _described(ids: list[str], table: pd.DataFrame, densities: Path) -> Iterator[tuple[Row, Row]]:
    for view in tqdm(ids, file=sys.stderr, mininterval=10):
        material_id = view.removesuffix(DFT_SUFFIX)
        try:
            density = (
                read_density(table.poscar[material_id].encode())
                if view == material_id
                else read_npz(densities / f"{material_id}.npz")
            )
            row, about = describe(view, density, "compact")
        except InputRefused as error:
            print(f"{view}: {error}", file=sys.stderr)
            continue
        yield row, {**about, "split": table.split[material_id]}


if __name__ == "__main__":
    main()
