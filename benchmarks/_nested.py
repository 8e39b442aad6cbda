"""Nested cross-validation: predictions for a fold by models that never saw it, and residuals to calibrate them with."""

from dataclasses import dataclass
from pathlib import Path

import lightgbm
import numpy as np
from _crystals import Crystals
from tqdm import tqdm

from rhoray.evaluate.protocol import Fold, grouped_folds, out_of_fold

FOLDS = 5
PARAMS = {
    "objective": "l2", "verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True,
    "learning_rate": 0.06, "num_leaves": 15, "min_child_samples": 8, "feature_fraction": 0.25, "bagging_freq": 1,
    "bagging_fraction": 0.8, "lambda_l2": 1.0, "seed": 0, "max_bin": 127,
}  # fmt: skip
ROUNDS = 300


@dataclass(frozen=True, slots=True)
class Nested:
    """One outer fold of a cross-validation.

    Attributes:
        train: rows that were not judged.
        test: rows that are judged.
        out_of_fold: predictions for `train`, by models of the inner folds.
        found: predictions for `test`, by a model of all of `train`.
    """

    train: np.ndarray
    test: np.ndarray
    out_of_fold: np.ndarray
    found: np.ndarray


def nested(crystals: Crystals, target: str, group: str, *, log: bool, cache: Path) -> list[Nested]:
    """Return every outer fold, groups of `group` on one side of it and of its inner folds."""
    kept = cache / f"nested_{target}_{group}.npz"
    known = np.flatnonzero(np.isfinite(crystals.table[target].to_numpy(float)))
    groups = crystals.table[group].to_numpy(str)
    outer = grouped_folds(groups[known].tolist(), count=FOLDS, seed=0)
    if not kept.exists():
        y = crystals.table[target].to_numpy(float)
        y = np.log(y) if log else y
        found = [_fold(crystals.features, y, groups, _rows(fold, known)) for fold in tqdm(outer, f"{target} {group}")]
        np.savez(
            kept,
            **{f"{i}_{name}": part for i, parts in enumerate(found) for name, part in zip("io", parts, strict=True)},
        )
    content = np.load(kept, allow_pickle=False)
    return [Nested(*_rows(fold, known), content[f"{i}_i"], content[f"{i}_o"]) for i, fold in enumerate(outer)]


def _rows(fold: Fold, known: np.ndarray) -> Fold:
    return known[fold[0]], known[fold[1]]


def _fold(x: np.ndarray, y: np.ndarray, groups: np.ndarray, fold: Fold) -> tuple[np.ndarray, np.ndarray]:
    train, test = fold
    inner = grouped_folds(groups[train].tolist(), count=FOLDS, seed=1)

    def fit_predict(some: np.ndarray, others: np.ndarray) -> np.ndarray:
        return fit(x[train[some]], y[train[some]]).predict(x[train[others]], num_threads=1)

    return out_of_fold(inner, fit_predict, len(train)), fit(x[train], y[train]).predict(x[test], num_threads=1)


def fit(x: np.ndarray, y: np.ndarray) -> lightgbm.Booster:
    """Return a plain LightGBM."""
    return lightgbm.train(PARAMS, lightgbm.Dataset(x, y), ROUNDS)
