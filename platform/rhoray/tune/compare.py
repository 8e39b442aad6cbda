"""What each group of features adds: the same model, rows and folds, with different columns; on the connected Ray.

Nothing is trimmed and nothing is tuned here, so that rows of the table differ by their features alone. Crystals of
split `test` take no part.
"""

import itertools
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import ray

from rhoray.core.storage import join, normalise, write_bytes
from rhoray.core.targets import get_target
from rhoray.evaluate.comparison import DUMMY, Comparison, comparison_files
from rhoray.evaluate.protocol import Fold, grouped_folds
from rhoray.models.regressor import from_model_scale, to_model_scale
from rhoray.pipeline.cluster import hush_workers
from rhoray.pipeline.features import FeatureTable, feature_table
from rhoray.pipeline.progress import progress_bar
from rhoray.store.manifest import chemical_system
from rhoray.tune.fitting import fit_trees
from rhoray.tune.labels import check_label
from rhoray.tune.spaces import LIGHTGBM_FIXED

PARAMS: dict[str, Any] = {
    "rounds": 400, "learning_rate": 0.05, "num_leaves": 15, "min_child_samples": 5, "feature_fraction": 0.3,
    "bagging_fraction": 0.8, "lambda_l2": 1.0, **LIGHTGBM_FIXED,
}  # fmt: skip
BLOCKS = ("latent", "magpie", "elements", "density")
SCHEMES = ("random", "prototype", "chemical_system")
SHARES = (0.125, 0.25, 0.5, 1.0)
EVERYTHING, REFERENCE = "all", "MAGPIE + cell"


@dataclass(frozen=True, slots=True, kw_only=True)
class CompareConfig:
    """What to compare.

    Attributes:
        latents: dataset of latents, with labels.
        targets: label columns.
        out: URI of the report.
        folds: of each cross-validation.
        repeats: cross-validations of each scheme, with other folds.
        seed: of folds, trees and bootstrap.
    """

    latents: str
    targets: Sequence[str]
    out: str
    folds: int = 5
    repeats: int = 3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Work:
    """One fit: which rows and columns, and where its predictions belong."""

    target: str
    scheme: str
    repeat: int
    features: str
    share: float
    train: np.ndarray
    test: np.ndarray


def compare_features(config: CompareConfig) -> dict[str, Any]:
    """Cross-validate every set of features for every target and write report.html, report.md and predictions.parquet.

    Returns:
        metrics (target to scheme to set of features), fits, seconds, out.

    Raises:
        DatasetError: a target has no column.
    """
    started = time.monotonic()
    table = _trainable(feature_table(config.latents, BLOCKS))
    for target in config.targets:
        check_label(table.materials, target, config.latents)
    sets = feature_sets(table)
    works = [work for target in config.targets for work in _plan(table.materials, target, config, list(sets))]
    values = {t: table.materials[t].to_numpy(float) for t in config.targets}
    predictions = _run(works, sets, values, table.materials, config.seed)
    about = f"{len(table.materials)} crystals, {config.repeats} x {config.folds} folds, LightGBM with one setting"
    result = Comparison(predictions, table.materials, REFERENCE, about, config.seed)
    metrics, files = comparison_files(result)
    out = normalise(config.out)
    for name, content in files.items():
        write_bytes(join(out, name), content)
    seconds = round(time.monotonic() - started, 2)
    return {"metrics": metrics, "fits": len(works), "seconds": seconds, "out": out}


def _trainable(table: FeatureTable) -> FeatureTable:
    rows = (table.materials.split != "test").to_numpy()
    return FeatureTable(table.labels, table.values[rows], table.materials[rows].reset_index(drop=True), table.manifest)


def feature_sets(table: FeatureTable) -> dict[str, np.ndarray]:
    """Return the columns of each row of the table: from none over composition and cell to everything."""
    block = [label.split(".")[0] for label in table.labels]
    of = {name: table.values[:, [b == name for b in block]] for name in BLOCKS}
    cell = table.materials[["volume_per_atom", "num_atoms", "space_group_number"]].to_numpy(float)
    return {
        DUMMY: np.zeros((len(cell), 1)),
        "element fractions": of["elements"],
        "MAGPIE": of["magpie"],
        REFERENCE: np.hstack([of["magpie"], cell]),
        "density only": of["density"],
        "latent only": of["latent"],
        EVERYTHING: np.hstack([of["magpie"], cell, of["density"], of["latent"]]),
    }


def _plan(materials: pd.DataFrame, target: str, config: CompareConfig, sets: list[str]) -> list[_Work]:
    known = np.flatnonzero(np.isfinite(materials[target].to_numpy(float)))
    works = []
    for scheme, repeat in itertools.product(SCHEMES, range(config.repeats)):
        for fold in _folds(materials.iloc[known], scheme, config.folds, config.seed + repeat):
            train, test = known[fold[0]], known[fold[1]]
            works += [_Work(target, scheme, repeat, name, 1.0, train, test) for name in sets]
            if repeat == 0 and scheme == SCHEMES[0]:
                order = np.random.default_rng(config.seed).permutation(train)
                works += [
                    _Work(target, scheme, repeat, name, share, order[: int(share * len(order))], test)
                    for share in SHARES[:-1]
                    for name in (REFERENCE, EVERYTHING)
                ]
    return works


def _folds(materials: pd.DataFrame, scheme: str, count: int, seed: int) -> list[Fold]:
    groups = {
        "random": materials.material_id,
        "prototype": materials.prototype,
        "chemical_system": materials.formula.map(chemical_system),
    }[scheme]
    return grouped_folds(groups.astype(str).tolist(), count=count, seed=seed)


def _run(
    works: list[_Work], sets: dict[str, np.ndarray], values: dict[str, np.ndarray], materials: pd.DataFrame, seed: int
) -> pd.DataFrame:
    """Return a row for each prediction: material_id, target, scheme, repeat, features, share, expected, found."""
    kept = {name: ray.put(columns) for name, columns in sets.items()}
    labels = {name: ray.put(column) for name, column in values.items()}
    fit = ray.remote(num_cpus=1)(_fit)  # at its own name stays what workers import
    pending = {fit.remote(work, kept[work.features], labels[work.target], seed): work for work in works}
    parts = []
    with progress_bar(len(works), "compare", "fits") as bar:
        while pending:
            (done,), _ = ray.wait(list(pending))
            work = pending.pop(done)
            parts.append(
                pd.DataFrame(
                    {
                        "material_id": materials.material_id.to_numpy()[work.test], "target": work.target,
                        "scheme": work.scheme, "repeat": work.repeat, "features": work.features, "share": work.share,
                        "expected": values[work.target][work.test], "found": ray.get(done),
                    }
                )
            )  # fmt: skip
            bar.update()
    keys = ["target", "scheme", "repeat", "features", "share", "material_id"]
    return pd.concat(parts).sort_values(keys).reset_index(drop=True)


def _fit(work: _Work, columns: np.ndarray, values: np.ndarray, seed: int) -> np.ndarray:
    hush_workers()
    log = get_target(work.target).positive
    y = to_model_scale(values[work.train], log=log)
    if work.features == DUMMY:
        return from_model_scale(np.full(len(work.test), y.mean()), log=log)
    trees = fit_trees("lightgbm", columns[work.train], y, PARAMS, seed)
    return from_model_scale(trees.predict(columns[work.test]), log=log)
