"""Fit the packaged formation-energy regressor: composition alone, on a table of structures; run once per release.

The packaged sample has no formation energies, so the demo takes this regressor from the packaged bundle. Formulas of
the sample's test split are left out, so that the demo never shows a number for a compound the model has seen.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from pymatgen.io.vasp import Poscar

from rhoray.core.storage import normalise
from rhoray.core.targets import FORMATION_ENERGY
from rhoray.density.crystal import AMU_PER_A3_IN_G_PER_CM3
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import grouped_folds, out_of_fold
from rhoray.features.block import feature_labels
from rhoray.features.magpie import magpie_block, magpie_of
from rhoray.models.domain import fit_domain
from rhoray.models.regressor import About, Regressor
from rhoray.registry.run_files import write_run
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.tune.fitting import fit_trees
from rhoray.tune.spaces import lightgbm_space

PARAMS = {
    "rounds": 700, "learning_rate": 0.05, "num_leaves": 15, "min_child_samples": 8,
    "feature_fraction": 0.4, "bagging_fraction": 0.8, "lambda_l2": 1.0,
}  # fmt: skip
FOLDS = 10
SEED = 0


def main() -> None:
    """Write a run to --out, as tune_regressor would."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--table",
        type=Path,
        required=True,
        help="Parquet: material_id, poscar, formation_energy_per_atom",
    )
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    table = _crystals(pd.read_parquet(args.table))
    features = np.array([magpie_of(formula) for formula in table.formula])
    values = table.expected.to_numpy(float)
    params = {**lightgbm_space().fixed, **PARAMS}

    def fit_predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        return fit_trees("lightgbm", features[train], values[train], params, SEED).predict(features[test])

    folds = grouped_folds(table.formula.tolist(), count=FOLDS, seed=SEED)
    found = out_of_fold(folds, functools.partial(fit_predict), len(table))
    labels = feature_labels([magpie_block()])
    about = About(
        target=FORMATION_ENERGY.name, unit=FORMATION_ENERGY.unit, kind="lightgbm", log=False, blocks=["magpie"],
        labels=labels, params=PARAMS, metrics=regression_metrics(values, found), encoder=None, count=len(table),
        seed=SEED,
    )  # fmt: skip
    regressor = Regressor(about, fit_trees("lightgbm", features, values, params, SEED))
    elements = {e.symbol for f in table.formula for e in Composition(f).elements}
    domain = fit_domain(sorted(elements), labels, features)
    fitted = {FORMATION_ENERGY.name: (regressor, table.assign(found=found))}
    write_run(normalise(args.out), fitted, domain, sorted(set(table.formula)))
    print(about.metrics)


def _crystals(table: pd.DataFrame) -> pd.DataFrame:
    sample = read_manifest(sample_uri()).written
    held_out = set(sample.formula[sample.split == "test"])
    rows = []
    for row in table[table.formation_energy_per_atom.notna()].itertuples():
        structure = Poscar.from_str(str(row.poscar)).structure
        formula = structure.composition.reduced_formula
        if formula not in held_out:
            mass = structure.composition.weight * AMU_PER_A3_IN_G_PER_CM3 / structure.volume
            rows.append(
                (
                    row.material_id,
                    formula,
                    float(mass),
                    structure.volume / len(structure),
                    row.formation_energy_per_atom,
                )
            )
    columns = ["material_id", "formula", "mass_density", "volume_per_atom", "expected"]
    return pd.DataFrame(rows, columns=columns)


if __name__ == "__main__":
    main()
