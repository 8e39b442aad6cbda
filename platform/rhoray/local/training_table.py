"""The table that the packaged bundle learns from: features of every structure of a table, and of DFT densities.

    python -m rhoray.local.training_table --table materials.parquet --densities npz/ --out features.npz

Each structure gives a row with its promolecular density; a crystal with a DFT density gives a second row. Both see
exactly what a prediction would: the density in its stored form, and the blocks of FEATURES.
"""

import argparse
import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float
from tqdm import tqdm

from rhoray.core.errors import InputRefused
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, reduced_formula, symmetry, volume_per_atom
from rhoray.density.read import read_density
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.local.npz import read_npz
from rhoray.store.codec import to_compact
from rhoray.store.manifest import chemical_system

BLOCKS = ("magpie", "cell", "elements", "bonds", "superposed", "density")
# None of these blocks looks at the latent.
_NO_LATENT = np.zeros((16, 16, 16, 16))


@dataclass(frozen=True, slots=True)
class TrainingTable:
    """Features and what is known of each crystal.

    Attributes:
        crystals: material_id, kind, formula, chemical_system, prototype, mass_density, volume_per_atom of each row.
        labels: feature columns.
        features: (n, features).
    """

    crystals: pd.DataFrame
    labels: list[str]
    features: Float[np.ndarray, "n f"]

    def columns(self, wanted: list[str]) -> Float[np.ndarray, "n c"]:
        """Return some columns of the features, in the order they are named."""
        place = {label: i for i, label in enumerate(self.labels)}
        return self.features[:, [place[label] for label in wanted]]


def make_table(table: pd.DataFrame, densities: Path | None) -> TrainingTable:
    """Return the features of a table's structures and of the DFT densities among its ids.

    Args:
        table: material_id and poscar.
        densities: folder of <material_id>.npz with DFT densities, None for structures alone.
    """
    blocks = get_blocks(BLOCKS)
    rows, values = [], []
    ids = set(table.material_id)
    dft = _dft(densities, ids) if densities else iter(())
    for material_id, density in itertools.chain(_promolecular(table), dft):
        found = feature_matrix(blocks, [density], [_NO_LATENT])[0]
        if not np.isfinite(found).all():
            raise ValueError(f"{material_id}: features that are no numbers")
        values.append(found)
        rows.append((material_id, *_facts(density)))
    columns = ["material_id", "kind", "formula", "chemical_system", "prototype", "mass_density", "volume_per_atom"]
    return TrainingTable(pd.DataFrame(rows, columns=columns), feature_labels(blocks), np.array(values))


def _facts(density: ChargeDensity) -> tuple[str, str, str, str, float, float]:
    formula = reduced_formula(density)
    return (
        density.kind, formula, chemical_system(formula), symmetry(density).prototype, mass_density(density),
        volume_per_atom(density),
    )  # fmt: skip


def _promolecular(table: pd.DataFrame) -> Iterator[tuple[str, ChargeDensity]]:
    for row in tqdm(table.itertuples(), "structures", len(table)):
        try:
            yield str(row.material_id), to_compact(read_density(str(row.poscar).encode()))
        except InputRefused as error:
            tqdm.write(f"{row.material_id} left out: {error}")


def _dft(folder: Path, ids: set[str]) -> Iterator[tuple[str, ChargeDensity]]:
    paths = sorted(path for path in folder.glob("*.npz") if path.stem in ids)
    for path in tqdm(paths, "densities"):
        yield path.stem, to_compact(read_npz(path))


def write_table(made: TrainingTable, path: Path) -> None:
    """Write a table as one .npz without pickle."""
    arrays = {name: made.crystals[name].to_numpy() for name in made.crystals}
    plain = {n: v.astype(str) if v.dtype == object else v for n, v in arrays.items()}
    np.savez_compressed(path, features=made.features, labels=np.array(made.labels), **plain)


def read_table(path: Path) -> TrainingTable:
    """Invert `write_table`."""
    with np.load(path, allow_pickle=False) as z:
        crystals = pd.DataFrame({n: z[n] for n in z.files if n not in {"features", "labels"}})
        return TrainingTable(crystals, z["labels"].tolist(), z["features"])


def main() -> None:
    """Make a table and write it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True, help="Parquet: material_id, poscar")
    parser.add_argument("--densities", type=Path, help="folder of <material_id>.npz: DFT densities of some of them")
    parser.add_argument("--out", type=Path, required=True, help=".npz")
    args = parser.parse_args()
    write_table(make_table(pd.read_parquet(args.table), args.densities), args.out)


if __name__ == "__main__":
    main()
