"""The reference data beside the project as tables of features, computed once and kept in a cache folder."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from pymatgen.io.vasp import Poscar
from tqdm import tqdm

from rhoray.core.errors import InputRefused
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, reduced_formula, symmetry, volume_per_atom
from rhoray.density.promolecule import promolecular_density
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.registry import BLOCK_NAMES, get_blocks
from rhoray.store.codec import to_compact

SHARED = Path(__file__).resolve().parents[2] / "shared"
BLOCKS = [name for name in BLOCK_NAMES if name != "latent"]
NO_LATENT = np.zeros((16, 16, 16, 16))


@dataclass(frozen=True, slots=True)
class Crystals:
    """Labelled crystals and what a regressor sees of them.

    Attributes:
        table: material_id, labels, split, prototype, chemical_system, crystal_system, mass_density, volume_per_atom.
        labels: feature columns.
        features: (n, features).
    """

    table: pd.DataFrame
    labels: list[str]
    features: np.ndarray

    def columns(self, *prefixes: str) -> np.ndarray:
        """Return the feature columns of some blocks."""
        return self.features[:, [label.split(".")[0] in prefixes for label in self.labels]]


def load_crystals(cache: Path) -> Crystals:
    """Return every crystal of materials.parquet that has a promolecular density."""
    kept, values = cache / "crystals.parquet", cache / "features.npy"
    labels = feature_labels(get_blocks(BLOCKS))
    if not kept.exists():
        cache.mkdir(parents=True, exist_ok=True)
        table, features = _compute()
        table.to_parquet(kept)
        np.save(values, features)
    return Crystals(pd.read_parquet(kept), labels, np.load(values, allow_pickle=False))


def promolecular_of(poscar: str) -> ChargeDensity:
    """Return the promolecular density of a POSCAR in the form in which densities are stored."""
    return to_compact(promolecular_density(Poscar.from_str(poscar).structure))


def features_of(density: ChargeDensity) -> np.ndarray:
    """Return the feature row of a density."""
    return feature_matrix(get_blocks(BLOCKS), [density], [NO_LATENT])[0]


def _compute() -> tuple[pd.DataFrame, np.ndarray]:
    rows, features = [], []
    for row in tqdm(pd.read_parquet(SHARED / "data" / "materials.parquet").to_dict("records"), mininterval=20):
        try:
            density = promolecular_of(row.pop("poscar"))
        except InputRefused:
            continue
        found, formula = symmetry(density), reduced_formula(density)
        facts = {
            "formula": formula,
            "prototype": found.prototype,
            "chemical_system": Composition(formula).chemical_system,
            "crystal_system": found.crystal_system,
            "mass_density": mass_density(density),
            "volume_per_atom": volume_per_atom(density),
        }
        rows.append({**row, **facts})
        features.append(features_of(density))
    return pd.DataFrame(rows), np.array(features)
