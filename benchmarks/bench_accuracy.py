"""How good the packaged ensemble is on compounds it has not seen, what each block of features adds, and the density.

    python -m rhoray.local.training_table --table materials.parquet --densities npz/ --out features.npz
    python benchmarks/bench_accuracy.py --table materials.parquet --features features.npz --work build/ --fit
    python benchmarks/bench_accuracy.py --table materials.parquet --features features.npz --work build/

The first of the two fits what is missing in --work (about half an hour of one core; it goes on where it was stopped),
the second writes the table of what is there. The ensemble is that of the packaged bundle, but here it looks at the
bonding region of the density that is given, promolecular or PBE, and learns from both: this is where it shows what a
PBE density is worth. The bundle itself looks at the promolecular one always; its card has its own cross-validation.

Folds: `random`, ten, and `grouped`, five that keep a chemical system on one side. Nothing is trimmed; intervals are
bootstrap ones over crystals, 95 %.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _feature_ensemble import FEATURE_MEMBERS, FEATURE_SHARES
from _results import write_result

from rhoray.core.targets import get_target, with_derived
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import grouped_folds
from rhoray.evaluate.statistics import Estimate, bootstrap, draws, paired
from rhoray.features.density import SETTLED
from rhoray.local.build_pretrained import (
    FOLDS,
    SEED,
    TARGETS,
    CrossValidation,
    combine,
    model_values,
    without_sample_tests,
)
from rhoray.local.training_table import read_table
from rhoray.models.regressor import from_model_scale
from rhoray.train.ensemble import TREES, Crystals, EnsembleSettings

MODULI = ["bulk_modulus", "shear_modulus"]
ALL = [t.name for t in TARGETS]
# Rows of the table: what trees alone learn from.
ABLATIONS = {
    "elements": ("elements",),
    "magpie": ("magpie",),
    "magpie-cell": ("magpie", "cell"),
    "density": ("density",),
    "bonds": ("bonds",),
    "magpie-cell-density": ("magpie", "cell", "density"),
    "magpie-cell-bonds": ("magpie", "cell", "bonds"),
}
PLAIN = "magpie-cell"
REPORTED = (*MODULI, "youngs_modulus", "debye_temperature", "formation_energy_per_atom", "cohesive_energy_per_atom")


def interval(estimate: Estimate) -> str:
    """Return a 95 % interval."""
    return f"{estimate.lower:.3g} to {estimate.upper:.3g}"


def mean_error(expected: np.ndarray, found: np.ndarray) -> float:
    """Return the mean absolute error."""
    return float(np.abs(found - expected).mean())


def given_density_labels(labels: list[str]) -> list[str]:
    """Return the columns of a structure, and the settled numbers of the density that is given."""
    settled = {f"density.{name}" for name in SETTLED}
    return [x for x in labels if x.split(".")[0] in ("magpie", "cell", "elements", "bonds") or x in settled]


class Accuracy:
    """Everything that is judged on one set of folds."""

    def __init__(self, args: argparse.Namespace, name: str) -> None:
        self.name = name
        self.fit = args.fit
        self.table = without_sample_tests(read_table(args.features))
        self.labels = pd.read_parquet(args.table).set_index("material_id")
        crystals = self.table.crystals
        keys, count = (crystals.chemical_system, FOLDS) if name == "grouped" else (crystals.material_id, 10)
        self.folds = grouped_folds(keys.tolist(), count=count, seed=SEED)
        self.values = model_values(self.table, self.labels.reset_index())
        self.work = args.work
        self.structures = np.flatnonzero((crystals.kind == "promolecular").to_numpy())

    def member(self, name: str, member: str, labels: list[str], targets: list[str]) -> dict[str, np.ndarray] | None:
        """Return a member's predictions, None where they are not there and shall not be made."""
        crystals = Crystals(self.table.columns(labels), labels)
        # A crystal's two rows would vouch for each other's label, so that no label is doubted here.
        settings = EnsembleSettings(doubtful=0.0)
        run = CrossValidation(crystals, self.values, self.folds, self.work, name, settings)
        ready = all((self.work / f"{name}-{member}-{i}.npz").exists() for i in range(len(self.folds)))
        return run.run(member, targets) if ready or self.fit else None

    def ensemble(self, name: str, labels: list[str], targets: list[str]) -> dict[str, np.ndarray] | None:
        """Return the ensemble's predictions in the targets' units, derived ones too."""
        found = {}
        for member in FEATURE_MEMBERS:
            one = self.member(name, member, labels, [t for t in targets if member in FEATURE_SHARES[t]])
            if one is None:
                return None
            found[member] = one
        return self.derived({t: combine(found, get_target(t), FEATURE_SHARES) for t in targets})

    def trees(self, name: str, labels: list[str]) -> dict[str, np.ndarray] | None:
        """Return the predictions of trees alone."""
        targets = [*MODULI, "formation_energy_per_atom"]
        found = self.member(name, TREES, labels, targets)
        if found is None:
            return None
        return self.derived({t: from_model_scale(v, log=get_target(t).positive) for t, v in found.items()})

    def derived(self, known: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Add Young's modulus and the Debye temperature."""
        crystals = self.table.crystals
        return with_derived(known, crystals.mass_density.to_numpy(float), crystals.volume_per_atom.to_numpy(float))

    def expected(self, target: str) -> np.ndarray:
        """Return a target's labels in the rows of the table."""
        return self.labels.loc[self.table.crystals.material_id, target].to_numpy(float)

    def samples(self, rows: np.ndarray) -> list[np.ndarray]:
        """Return bootstrap samples of some rows of the table, crystals kept whole."""
        return draws(self.table.crystals.material_id.to_numpy(str)[rows].tolist(), SEED)

    def row(self, name: str, found: dict[str, np.ndarray], rows: np.ndarray) -> str:
        """Return a line of the table: R2, MAE and its interval for each property."""
        cells = []
        for target in REPORTED:
            if target not in found:
                cells.append("")
                continue
            y, p = self.expected(target)[rows], found[target][rows]
            m, known = regression_metrics(y, p), np.isfinite(y)
            error = bootstrap(mean_error, y[known], p[known], self.samples(rows[known]))
            cells.append(f"{m['r2']:.4f} / {m['mae']:.3g} ({interval(error)})")
        return f"| {name} | " + " | ".join(cells) + " |"

    def dummy(self) -> dict[str, np.ndarray]:
        """Return the mean of the other folds' labels."""
        out = {}
        for target in REPORTED:
            y = self.expected(target)
            out[target] = np.full(len(y), np.nan)
            for train, test in self.folds:
                out[target][test] = np.nanmean(y[train])
        return out

    def lines(self) -> list[str]:
        """Return the tables of these folds."""
        labels = given_density_labels(self.table.labels)
        head = [f"{t.replace('_', ' ')} R2 / MAE" for t in REPORTED]
        out = ["| features, model | " + " | ".join(head) + " |", "| --- |" + " --- |" * len(head)]
        out.append(self.row("mean of the others", self.dummy(), self.structures))
        for name, blocks in ABLATIONS.items():
            some = [label for label in self.table.labels if label.split(".")[0] in blocks]
            found = self.trees(f"{self.name}-{name}", some)
            if found:
                out.append(self.row(f"{' + '.join(blocks)}, trees", found, self.structures))
        full = self.ensemble(self.name, labels, ALL)
        if full:
            out.append(self.row("all, ensemble", full, self.structures))
            out += ["", *self.density_kinds(full)]
        with_density = self.member(self.name, TREES, labels, [t for t in ALL if TREES in FEATURE_SHARES[t]])
        without = self.trees(
            f"{self.name}-{PLAIN}", [x for x in self.table.labels if x.split(".")[0] in ABLATIONS[PLAIN]]
        )
        if with_density and without:
            out += ["", *self.gain({t: np.exp(with_density[t]) for t in MODULI}, without)]
        return out

    def density_kinds(self, full: dict[str, np.ndarray]) -> list[str]:
        """Compare the crystals that have both densities."""
        crystals = self.table.crystals
        dft = np.flatnonzero((crystals.kind == "dft").to_numpy())
        place = {crystals.material_id[i]: i for i in self.structures}
        twins = np.array([place[crystals.material_id[i]] for i in dft])
        out = [f"The {len(dft)} crystals with a PBE density, the same models, MAE from either density:", ""]
        out += ["| property | promolecular | PBE | PBE - promolecular |", "| --- | --- | --- | --- |"]
        for target in REPORTED:
            y = self.expected(target)[dft]
            known = np.isfinite(y)
            a, b = np.abs(full[target][twins] - y)[known], np.abs(full[target][dft] - y)[known]
            change = bootstrap(lambda one, other: float((other - one).mean()), a, b, self.samples(dft[known]))
            out.append(f"| {target} | {a.mean():.4g} | {b.mean():.4g} | {interval(change)} |")
        return out

    def gain(self, full: dict[str, np.ndarray], plain: dict[str, np.ndarray]) -> list[str]:
        """Return how much smaller the error is than without density and bonds, paired over crystals."""
        out = [
            "Trees on all blocks against the same trees on magpie + cell, without density and bonds:",
            "",
        ]
        for target in MODULI:
            y = self.expected(target)[self.structures]
            one, other = full[target][self.structures], plain[target][self.structures]
            change = paired(y, one, other, self.samples(self.structures)).change
            out.append(f"- {target}: MAE {-100 * change.value:.1f} % smaller "
                       f"(95 %: {-100 * change.upper:.1f} to {-100 * change.lower:.1f} %)")  # fmt: skip
        return out


def main() -> None:
    """Fit what is missing, or write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="Parquet: material_id and labels")
    parser.add_argument("--features", type=Path, required=True, help="from rhoray.local.training_table")
    parser.add_argument("--work", type=Path, required=True, help="folder of predictions")
    parser.add_argument("--folds", nargs="+", default=["random", "grouped"], choices=["random", "grouped"])
    parser.add_argument("--fit", action="store_true", help="fit what is missing first")
    args = parser.parse_args()
    body = []
    for name in args.folds:
        accuracy = Accuracy(args, name)
        body += [f"## {name} folds", "", *accuracy.lines(), ""]
    write_result("accuracy", "How good it is, and what the density adds", "\n".join(body),
                 ("numpy", "lightgbm", "torch", "scikit-learn"))  # fmt: skip


if __name__ == "__main__":
    main()
