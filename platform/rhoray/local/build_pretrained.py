r"""Make the packaged bundle from a table of labelled structures and DFT densities; run once per release.

    python -m rhoray.local.training_table --table materials.parquet --densities npz/ --out features.npz
    python -m rhoray.local.build_pretrained --table materials.parquet --features features.npz --work build/ \
        --encoder pretrained: --out platform/rhoray/pretrained

Five folds that keep every chemical system on one side say how good it is and calibrate its intervals; then all rows are
fitted. Compounds of the packaged sample's test split take no part, so that the sample can judge the bundle. What a
member says of a fold is written to --work as it is done: a run that was stopped goes on there.
"""

import argparse
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from tqdm import tqdm

from rhoray.core.storage import normalise
from rhoray.core.targets import BULK_MODULUS, COHESIVE_ENERGY, FORMATION_ENERGY, SHEAR_MODULUS, Target
from rhoray.density.charge_density import DensityKind
from rhoray.density.read import read_density
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import Fold, grouped_folds
from rhoray.features.sites import Sites, sites_of
from rhoray.local.training_table import TrainingTable, read_table
from rhoray.models.difficulty import Difficulty, fit_difficulty, spread_out_of_fold
from rhoray.models.domain import fit_domain
from rhoray.models.ensemble import ENSEMBLE
from rhoray.models.model import Model, SiteModel, predicted_by
from rhoray.models.regressor import About, Regressor, from_model_scale, to_model_scale
from rhoray.registry.bundle import publish
from rhoray.registry.run_files import write_run
from rhoray.sources.items import sample_uri
from rhoray.store.codec import to_compact
from rhoray.store.manifest import read_manifest
from rhoray.train.ensemble import (
    DOUBTING,
    KERNEL,
    MEMBERS,
    NETWORKS,
    SITES,
    TREES,
    Crystals,
    EnsembleSettings,
    assemble,
    believed,
    fit_member,
)

Shares = dict[str, dict[str, float]]
TARGETS = (BULK_MODULUS, SHEAR_MODULUS, FORMATION_ENERGY, COHESIVE_ENERGY)
# Those with the least mean absolute error of out-of-fold predictions, in tenths; see benchmarks/results. In energies
# dense networks would take 0.3 % off the error for a fifth of the bundle's size, so they stand back.
SHARES: Shares = {
    BULK_MODULUS.name: {NETWORKS: 0.1, KERNEL: 0.7, TREES: 0.1, SITES: 0.1},
    SHEAR_MODULUS.name: {NETWORKS: 0.2, KERNEL: 0.5, TREES: 0.1, SITES: 0.2},
    FORMATION_ENERGY.name: {KERNEL: 0.3, SITES: 0.7},
    COHESIVE_ENERGY.name: {SITES: 1.0},
}
# What each kind learns, whether or not it has a share: networks are better for all that they learn together.
LEARNED: dict[str, list[str]] = {
    NETWORKS: [t.name for t in TARGETS],
    KERNEL: [BULK_MODULUS.name, SHEAR_MODULUS.name, FORMATION_ENERGY.name],
    TREES: [BULK_MODULUS.name, SHEAR_MODULUS.name],
    SITES: [t.name for t in TARGETS],
}
FACTS: dict[str, Any] = {
    "data": {
        "labels": "K, G (Hill averages, GPa), cohesive and formation energies (eV/atom): PBE values of the Materials "
        "Project (CC BY 4.0, A. Jain et al., APL Materials 1, 011002 (2013), doi:10.1063/1.4812323), as the authors of "
        "arXiv:2605.07227 compiled them; formation energies follow from cohesive ones with fitted references.",
        "densities": "promolecular, of every structure; our own PBE densities (GPAW, 350 eV) of some set the "
        "limits of what a density may look like: as regressors' inputs they made errors larger, so that the regressors "
        "look at the structure of a density that is given, the domain check and the autoencoder at the density",
        "left_out": "compounds of the packaged sample's test split",
    },
    "protocol": "cross_validation: five folds that keep every chemical system on one side, all transforms fitted on "
    "training rows; process and trees do not learn from the 3 % of a target's training labels that are farthest from "
    "what all the others say; judged on every row, none trimmed, and on promolecular densities, as of a CIF",
    "limits": [
        "ordered inorganic crystals near their PBE ground state, hydrogen to curium",
        "isotropic averages at 0 K of spin-averaged structures; molecules, surfaces and defects were not in training",
        "Tc, Po, At, Fr, Ra and Ac to Cm have another element's free atom in promolecular densities",
        "no compound of Pm, Sm, Tb, Ho, Yb, Ac, Pa, Np or Pu had a formation energy to learn from",
        "labels hold errors: graphite's moduli, some alloys' by a factor of two",
    ],
    "labels_licence": "CC BY 4.0",
}
STRUCTURE = ("magpie", "cell", "elements", "bonds", "superposed")
# Any code's density of a crystal is taken: regressors and distance look at its structure.
KINDS: tuple[DensityKind, ...] = ("promolecular", "dft")
FOLDS = 5
SEED = 0


def regressor_labels(labels: Sequence[str]) -> list[str]:
    """Return the columns that the bundle's regressors see: all that follow from a structure, whatever its density."""
    return [label for label in labels if label.split(".")[0] in STRUCTURE]


def domain_labels(labels: Sequence[str]) -> list[str]:
    """Return the columns in which a crystal may be foreign; elements are checked by name, densities by themselves."""
    return [label for label in regressor_labels(labels) if label.split(".")[0] != "elements"]


@dataclass(frozen=True, slots=True)
class CrossValidation:
    """Folds over crystals, and where their predictions are kept.

    Attributes:
        crystals: what members look at; without sites, where no member does or its predictions are there already.
        values: target to labels on the model's scale, (n,).
        folds: over the crystals.
        work: folder of the predictions.
        name: what tells this cross-validation's files from others'.
        settings: of the members.
    """

    crystals: Crystals
    values: dict[str, np.ndarray]
    folds: Sequence[Fold]
    work: Path
    name: str
    settings: EnsembleSettings = field(default_factory=EnsembleSettings)

    def run(self, member: str, targets: Sequence[str]) -> dict[str, np.ndarray]:
        """Return one member's predictions, on the model's scale, for rows that it had not seen.

        Args:
            member: of train.ensemble.MEMBERS.
            targets: to predict.
        """
        found = {name: np.full(len(self.crystals.features), np.nan) for name in targets}
        self.work.mkdir(parents=True, exist_ok=True)
        for index, (train, test) in enumerate(self.folds):
            path = self.work / f"{self.name}-{member}-{index}.npz"
            if not path.exists():
                known = {name: self._learned(member, name, index, train) for name in targets}
                models = fit_member(member, self.crystals.some(train), known, self.settings, SEED)
                unseen = self.crystals.some(test)
                columns = [predicted_by(models[name], unseen.features, unseen.sites) for name in targets]
                np.savez(path, names=np.array(targets), rows=test, found=np.array(columns))
                print(f"{path.name} done", flush=True)
            with np.load(path, allow_pickle=False) as z:
                if z["names"].tolist() != list(targets) or not np.array_equal(z["rows"], test):
                    raise ValueError(f"{path} is of another cross-validation; remove it, or name another --work")
                for name, column in zip(targets, z["found"], strict=True):
                    found[name][test] = column
        return found

    def _learned(self, member: str, target: str, index: int, train: np.ndarray) -> np.ndarray:
        """Return the labels of a fold's training rows that a member learns from, NaN where none."""
        values = self.values[target][train]
        if member not in DOUBTING:
            return values
        path = self.work / f"{self.name}-{target}-{index}.npz"
        if not path.exists():
            sure = believed(self.crystals.some(train), {target: values}, self.settings, SEED)
            np.savez(path, rows=train, labels=sure[target])
        with np.load(path, allow_pickle=False) as z:
            if not np.array_equal(z["rows"], train):
                raise ValueError(f"{path} is of another cross-validation; remove it, or name another --work")
            return np.asarray(z["labels"])


def only_structures(table: TrainingTable) -> TrainingTable:
    """Return one row a crystal, that of its structure: DFT rows are there for the domain."""
    kept = (table.crystals.kind == "promolecular").to_numpy()
    return TrainingTable(table.crystals[kept].reset_index(drop=True), table.labels, table.features[kept])


def without_sample_tests(table: TrainingTable) -> TrainingTable:
    """Return the table without the compounds that the packaged sample tests with."""
    sample = read_manifest(sample_uri()).written
    kept = ~table.crystals.formula.isin(set(sample.formula[sample.split == "test"])).to_numpy()
    return TrainingTable(table.crystals[kept].reset_index(drop=True), table.labels, table.features[kept])


def model_values(table: TrainingTable, targets: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return each target's labels in the rows of the table, on the model's scale."""
    joined = targets.set_index("material_id").loc[table.crystals.material_id]
    return {t.name: to_model_scale(joined[t.name].to_numpy(float), log=t.positive) for t in TARGETS}


def table_sites(table: TrainingTable, structures: pd.DataFrame) -> list[Sites]:
    """Return the sites of each row of the table, read as a prediction reads them."""
    poscar = structures.set_index("material_id").poscar.loc[table.crystals.material_id]
    return [sites_of(to_compact(read_density(str(text).encode()))) for text in tqdm(poscar, "sites")]


def combine(members: dict[str, dict[str, np.ndarray]], target: Target, shares: Shares = SHARES) -> np.ndarray:
    """Return the shared prediction of a target in its unit."""
    mean = sum(share * members[m][target.name] for m, share in shares[target.name].items())
    return from_model_scale(np.asarray(mean), log=target.positive)


def cross_validate(run: CrossValidation, members: Sequence[str] = MEMBERS) -> dict[str, dict[str, np.ndarray]]:
    """Return members' out-of-fold predictions of the targets that they learn."""
    return {member: run.run(member, LEARNED[member]) for member in members}


def _regressor(
    target: Target,
    members: Mapping[str, Mapping[str, Model | SiteModel]],
    labels: list[str],
    metrics: dict[str, float],
    count: int,
) -> Regressor:
    blocks = list(dict.fromkeys(label.split(".")[0] for label in labels))
    params: dict[str, Any] = {"shares": SHARES[target.name], **asdict(EnsembleSettings())}
    about = About(
        target=target.name, unit=target.unit, kind=ENSEMBLE, log=target.positive, blocks=blocks, labels=labels,
        params=params, metrics=metrics, encoder=None, count=count, seed=SEED,
    )  # fmt: skip
    return Regressor(about, assemble(members, SHARES[target.name], target.name))


def build(table: TrainingTable, targets: pd.DataFrame, work: Path) -> str:
    """Cross-validate, fit all rows, and write a run below `work`; return its URI."""
    table = only_structures(without_sample_tests(table))
    labels = regressor_labels(table.labels)
    values = model_values(table, targets)
    folds = grouped_folds(table.crystals.chemical_system.tolist(), count=FOLDS, seed=SEED)
    crystals = Crystals(table.columns(labels), labels, table_sites(table, targets))
    found = cross_validate(CrossValidation(crystals, values, folds, work, "bundle"))
    settings = EnsembleSettings()
    sure = believed(crystals, {n: values[n] for m in DOUBTING for n in LEARNED[m]}, settings, SEED)
    learned = {m: {n: (sure if m in DOUBTING else values)[n] for n in LEARNED[m]} for m in MEMBERS}
    fitted = {m: fit_member(m, crystals, learned[m], settings, SEED) for m in MEMBERS}
    facts = table.crystals[["material_id", "formula", "mass_density", "volume_per_atom"]]
    run: dict[str, tuple[Regressor, pd.DataFrame]] = {}
    difficulties: dict[str, Difficulty] = {}
    for target in TARGETS:
        expected = from_model_scale(values[target.name], log=target.positive)
        predicted = combine(found, target)
        metrics = regression_metrics(expected, predicted)
        known = np.isfinite(expected)
        regressor = _regressor(target, fitted, labels, metrics, int(known.sum()))
        scaled = to_model_scale(predicted, log=target.positive)
        residuals = values[target.name] - scaled
        spread = np.full(len(known), np.nan)
        spread[known] = spread_out_of_fold(
            _folds_within(folds, known), crystals.features[known], scaled[known], residuals[known]
        )
        difficulties[target.name] = fit_difficulty(labels, crystals.features[known], scaled[known], residuals[known])
        run[target.name] = (regressor, facts.assign(expected=expected, found=predicted, spread=spread)[known])
        print(target.name, json.dumps(metrics), flush=True)
    elements = sorted({e.symbol for f in set(table.crystals.formula) for e in Composition(f).elements})
    domain = fit_domain(elements, domain_labels(labels), table.columns(domain_labels(labels)), KINDS)
    uri = normalise(str(work / "run"))
    write_run(uri, run, domain, sorted(set(table.crystals.formula)), difficulties)
    return uri


def _folds_within(folds: Sequence[Fold], known: np.ndarray) -> list[Fold]:
    """Return the folds in the row numbers of the rows that are known."""
    number = np.cumsum(known) - 1
    return [(number[train[known[train]]], number[test[known[test]]]) for train, test in folds]


def main() -> None:
    """Build and publish."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--table", type=Path, required=True, help="Parquet: material_id, poscar and the label columns")
    parser.add_argument("--features", type=Path, required=True, help="from rhoray.local.training_table")
    parser.add_argument("--work", type=Path, required=True, help="folder for what is made on the way")
    parser.add_argument("--encoder", default="pretrained:", help="--out of train_ae, or a bundle (default pretrained:)")
    parser.add_argument("--out", required=True, help="folder of the bundle's versions")
    args = parser.parse_args()
    run = build(read_table(args.features), pd.read_parquet(args.table), args.work)
    digest = hashlib.sha256(args.table.read_bytes()).hexdigest()
    facts = {**FACTS, "data": {**FACTS["data"], "table_sha256": digest}}
    print(publish(args.encoder, [run], args.out, facts=facts))


if __name__ == "__main__":
    main()
