"""Search hyper-parameters with Ray Tune, then fit the winner: one regressor per target.

A trial is a cross-validation that reports its running mean error after each fold; ASHA stops trials that are behind
after the same folds. Folds keep formulas together. Crystals of split `test` take no part in any of it.
"""

import functools
import hashlib
import json
import logging
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow.fs
import ray
from pymatgen.core import Composition
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from rhoray.core.errors import DatasetError, RhoRayError
from rhoray.core.storage import exists, join, normalise, open_filesystem, read_bytes, write_bytes
from rhoray.core.targets import TARGETS, Target, get_target
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import Fold, fold_predictions, grouped_folds
from rhoray.features.registry import get_blocks
from rhoray.models.boosted_trees import TreeKind
from rhoray.models.domain import fit_domain
from rhoray.models.regressor import About, Regressor, from_model_scale, to_model_scale
from rhoray.pipeline.cluster import hush_workers, num_cpus
from rhoray.pipeline.features import FeatureTable, feature_table
from rhoray.registry.run_files import write_run
from rhoray.tune.fitting import fit_trees
from rhoray.tune.progress import TrialProgress
from rhoray.tune.spaces import SPACES, Space

logger = logging.getLogger(__name__)
logging.getLogger("optuna").setLevel(logging.WARNING)

METRIC = "mae"
FEWEST_ROWS = 20
MOST_ACTORS = 2
TRAINED_ON = ("train", "val")
OUT_OF_FOLD = "out_of_fold.npy"
FINGERPRINT = "search.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What to search.

    Attributes:
        latents: dataset of latents, with labels.
        targets: label columns to learn.
        out: URI of the run.
        model: lightgbm or xgboost.
        features: blocks, in order.
        trials: settings to try for each target.
        resume: go on with an interrupted search at `out`.
        folds: of the cross-validation.
        seed: of folds, trees and the searcher.
    """

    latents: str
    targets: Sequence[str]
    out: str
    model: TreeKind = "lightgbm"
    features: Sequence[str] = ("latent", "magpie", "density")
    trials: int = 20
    resume: bool = False
    folds: int = 5
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Task:
    """One target's learning problem, as a trial needs it."""

    kind: TreeKind
    features: np.ndarray
    values: np.ndarray
    log: bool
    folds: list[Fold]
    fixed: dict[str, Any]
    seed: int
    actors: int

    def fit_predict(self, params: dict[str, Any], train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return predictions for `test`, in the target's unit, of trees that saw only `train`."""
        y = to_model_scale(self.values[train], log=self.log)
        settings = {**self.fixed, **params}
        trees = fit_trees(self.kind, self.features[train], y, settings, self.seed, actors=self.actors)
        return from_model_scale(trees.predict(self.features[test]), log=self.log)


def search_regressors(config: SearchConfig) -> dict[str, Any]:
    """Search and fit every target on the connected Ray and write the run.

    Returns:
        targets (name to r2 and mae, cross-validated), trials, seconds, out.

    Raises:
        DatasetError: a target has no column, or too few labels.
        RhoRayError: a target is derived, not learned.
    """
    started = time.monotonic()
    for name in config.targets:
        if name in TARGETS and TARGETS[name].derived:
            raise RhoRayError(f"{name} is derived from bulk and shear modulus, not learned; learn those")
    out = normalise(config.out)
    table = feature_table(config.latents, config.features)
    _check_labels(table.materials, config)
    fitted: dict[str, tuple[Regressor, pd.DataFrame]] = {}
    trials = 0
    for name in config.targets:
        fitted[name], count = _search_target(config, table, get_target(name), out)
        trials += count
    rows = _trainable(table.materials)
    domain = fit_domain(
        [s for formula in table.materials.formula[rows] for s in _elements(formula)],
        table.labels,
        table.values[rows],
        table.materials.density_kind[rows].tolist(),
    )
    formulas = sorted(set(table.materials.formula[rows]))
    write_run(out, fitted, domain, formulas)
    return {
        "targets": {n: {k: r.about.metrics[k] for k in ("r2", "mae")} for n, (r, _) in fitted.items()},
        "trials": trials,
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
    }


def _elements(formula: str) -> list[str]:
    return [element.symbol for element in Composition(formula).elements]


def _trainable(materials: pd.DataFrame) -> np.ndarray:
    return materials.split.isin(TRAINED_ON).to_numpy()


def _check_labels(materials: pd.DataFrame, config: SearchConfig) -> None:
    for name in config.targets:
        if name not in materials:
            raise DatasetError(f"{config.latents} has no label {name!r}; ingest with --labels")
        count = int(materials[name][_trainable(materials)].notna().sum())
        if count < FEWEST_ROWS:
            raise DatasetError(f"{name}: {count} labelled crystals, expected at least {FEWEST_ROWS}")


def _search_target(
    config: SearchConfig, table: FeatureTable, target: Target, out: str
) -> tuple[tuple[Regressor, pd.DataFrame], int]:
    """Return the fitted regressor with its out-of-fold predictions, and how many trials ran."""
    labels = table.materials[target.name].to_numpy(float)
    rows = np.flatnonzero(_trainable(table.materials) & np.isfinite(labels))
    materials = table.materials.iloc[rows].reset_index(drop=True)
    space = SPACES[config.model]()
    task = _Task(
        config.model,
        table.values[rows],
        labels[rows],
        target.positive,
        grouped_folds(materials.formula.tolist(), count=config.folds, seed=config.seed),
        space.fixed,
        config.seed,
        _free_actors() if config.model == "xgboost" else 0,
    )
    results = _tune(task, space, config, join(out, "tune"), target)
    best = _best(results, len(task.folds))
    return _fit(task, best, config, table, target, materials), len(results)


def _fingerprint(task: _Task, config: SearchConfig) -> bytes:
    """Return what decides a search's results; a search is resumed only as what it was."""
    arrays = hashlib.sha256(task.features.tobytes() + task.values.tobytes()).hexdigest()
    about = {"model": config.model, "features": list(config.features), "trials": config.trials, "data": arrays}
    return json.dumps({**about, "folds": config.folds, "seed": config.seed}, sort_keys=True).encode()


def _tune(task: _Task, space: Space, config: SearchConfig, folder: str, target: Target) -> tune.ResultGrid:
    filesystem, path = open_filesystem(folder)
    storage = pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem))
    bundles = [{"CPU": 0.0 if config.model == "xgboost" else 1.0}]
    if config.model == "xgboost":
        bundles += [{"CPU": 1.0}] * task.actors
    trainable = tune.with_resources(tune.with_parameters(_trial, task=task), tune.PlacementGroupFactory(bundles))
    fingerprint, fingerprint_uri = _fingerprint(task, config), join(folder, target.name, FINGERPRINT)
    if config.resume and exists(join(folder, target.name, "tuner.pkl")):
        if read_bytes(fingerprint_uri) != fingerprint:
            raise DatasetError(f"{folder}/{target.name}: that search had other data or flags, expected the same")
        tuner = tune.Tuner.restore(
            f"{path}/{target.name}",
            trainable=trainable,
            storage_filesystem=storage,
            resume_unfinished=True,
            restart_errored=True,
        )
        return tuner.fit()
    write_bytes(fingerprint_uri, fingerprint)
    at_once = max(1, int(num_cpus() / sum(b["CPU"] for b in bundles)))
    tuner = tune.Tuner(
        trainable,
        param_space=space.search,
        tune_config=tune.TuneConfig(
            num_samples=config.trials,
            metric=METRIC,
            mode="min",
            search_alg=OptunaSearch(points_to_evaluate=[space.start], seed=config.seed),
            scheduler=ASHAScheduler(
                time_attr="fold", max_t=config.folds, grace_period=min(2, config.folds), reduction_factor=2
            ),
            max_concurrent_trials=min(at_once, config.trials),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=target.name,
            storage_path=path,
            storage_filesystem=storage,
            verbose=0,
            callbacks=[TrialProgress(config.trials, target.label, METRIC, target.unit)],
        ),
    )
    return tuner.fit()


def _free_actors() -> int:
    """Return how many actors each XGBoost fit gets: two where there is room, one where something else is served."""
    return min(MOST_ACTORS, max(1, int(ray.available_resources().get("CPU", 0))))


def _trial(params: dict[str, Any], task: _Task) -> None:
    """Cross-validate one setting; after each fold report the mean absolute error so far.

    After the last fold the out-of-fold predictions are kept: whoever wins need not be cross-validated again.
    """
    hush_workers()
    found = np.full(len(task.values), np.nan)
    fit_predict = functools.partial(task.fit_predict, params)
    for index, (test, predictions) in enumerate(fold_predictions(task.folds, fit_predict)):
        found[test] = predictions
        metrics = regression_metrics(task.values, found)
        report = {"fold": index + 1, METRIC: metrics["mae"], "r2": metrics["r2"]}
        if index + 1 < len(task.folds):
            tune.report(report)
            continue
        with tempfile.TemporaryDirectory() as folder:
            np.save(Path(folder) / OUT_OF_FOLD, found)
            tune.report(report, checkpoint=tune.Checkpoint.from_directory(folder))


def _best(results: tune.ResultGrid, num_folds: int) -> tune.Result:
    """Return the best trial that went through all folds: partial means do not compare with full ones."""
    complete = [r for r in results if r.metrics and r.metrics.get("fold") == num_folds]
    if not complete:
        errors = [str(error) for error in results.errors]
        raise RhoRayError(f"no trial ran through all {num_folds} folds; first error: {errors[:1]}")
    return min(complete, key=lambda r: r.metrics[METRIC])


def _fit(
    task: _Task, best: tune.Result, config: SearchConfig, table: FeatureTable, target: Target,
    materials: pd.DataFrame,
) -> tuple[Regressor, pd.DataFrame]:  # fmt: skip
    """Fit the winner's setting to all rows; return it with the out-of-fold predictions of its trial."""
    assert best.config is not None
    assert best.checkpoint is not None
    params = {k: v if isinstance(v, int) else float(v) for k, v in best.config.items()}
    with best.checkpoint.as_directory() as folder:
        found = np.load(Path(folder) / OUT_OF_FOLD, allow_pickle=False)
    trees = fit_trees(
        config.model, task.features, to_model_scale(task.values, log=task.log),
        {**task.fixed, **params}, config.seed,
    )  # fmt: skip
    needs_latent = any(block.needs_latent for block in get_blocks(config.features))
    about = About(
        target=target.name,
        unit=target.unit,
        kind=config.model,
        log=task.log,
        blocks=list(config.features),
        labels=table.labels,
        params=params,
        metrics=regression_metrics(task.values, found),
        encoder=table.manifest.card["digest"] if needs_latent else None,
        count=len(materials),
        seed=config.seed,
    )
    columns = ["material_id", "formula", "mass_density", "volume_per_atom"]
    return Regressor(about, trees), materials[columns].assign(expected=task.values, found=found)
