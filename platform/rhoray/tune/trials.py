"""Trials on Ray Tune: cross-validate the settings of one round side by side, and stop those that are behind."""

import functools
import io
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow.fs
import ray
from ray import tune

from rhoray.core.errors import RhoRayError
from rhoray.core.storage import join, open_filesystem, read_bytes, write_bytes
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import Fold, fold_predictions
from rhoray.models.regressor import from_model_scale, to_model_scale
from rhoray.pipeline.cluster import hush_workers, num_cpus
from rhoray.tune.fitting import ModelKind, fit_model
from rhoray.tune.progress import TrialProgress
from rhoray.tune.rounds import Params, Trial

logging.getLogger("optuna").setLevel(logging.WARNING)

METRIC = "mae"
MOST_ACTORS = 2
# Until then, CPUs of work that has just ended may be given back.
RELEASED_S = 5.0
# Of one trial, which begins anew: its node may be lost. What is wrong with the data is wrong each time.
RESTARTS = 3
OUT_OF_FOLD = "out_of_fold.npy"


@dataclass(frozen=True, slots=True)
class Task:
    """One target's learning problem, as a trial needs it."""

    kind: ModelKind
    features: np.ndarray
    values: np.ndarray
    log: bool
    folds: list[Fold]
    fixed: dict[str, Any]
    seed: int
    actors: int

    def fit_predict(self, params: Params, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        """Return predictions for `test`, in the target's unit, of a model that saw only `train`."""
        y = to_model_scale(self.values[train], log=self.log)
        settings = {**self.fixed, **params}
        trees = fit_model(self.kind, self.features[train], y, settings, self.seed, actors=self.actors)
        return from_model_scale(trees.predict(self.features[test]), log=self.log)


@dataclass(frozen=True, slots=True)
class _Limits:
    """Tells Tune to stop a trial that is behind; a plain value, so that it reaches every process alike."""

    by_fold: dict[int, float]

    def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
        del trial_id
        return result[METRIC] > self.by_fold.get(result["fold"], float("inf"))


def free_actors() -> int:
    """Return how many actors each XGBoost fit gets: two where there is room, one where something else is served."""
    deadline = time.monotonic() + RELEASED_S
    while (free := int(ray.available_resources().get("CPU", 0))) < MOST_ACTORS and time.monotonic() < deadline:
        time.sleep(0.2)
    return min(MOST_ACTORS, max(1, free))


def run_round(
    task: Task, settings: Sequence[Params], stop_above: dict[int, float], folder: str, progress: TrialProgress
) -> list[Trial]:
    """Cross-validate some settings and return their trials, in order.

    Args:
        task: what is learned.
        settings: one per trial.
        stop_above: error by folds done above which a trial is stopped.
        folder: URI; each complete trial leaves its out-of-fold predictions there, see `predictions_of`.
        progress: counts trials.

    Raises:
        RhoRayError: a trial failed.
    """
    first = progress.done
    filesystem, path = open_filesystem(folder)
    bundles = [{"CPU": 0.0 if task.kind == "xgboost" else 1.0}]
    if task.kind == "xgboost":
        bundles += [{"CPU": 1.0}] * task.actors
    trainable = tune.with_parameters(_trial, task=task, folder=folder)
    numbered = [{"number": first + i, "params": dict(params)} for i, params in enumerate(settings)]
    results = tune.Tuner(
        tune.with_resources(trainable, tune.PlacementGroupFactory(bundles)),
        param_space={"trial": tune.grid_search(numbered)},
        tune_config=tune.TuneConfig(
            metric=METRIC,
            mode="min",
            max_concurrent_trials=max(1, int(num_cpus() / sum(b["CPU"] for b in bundles))),
            reuse_actors=True,
            trial_dirname_creator=lambda trial: trial.trial_id,
        ),
        run_config=tune.RunConfig(
            name=f"ray-{first:04}",
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            stop=_Limits(stop_above),
            verbose=0,
            callbacks=[progress],
            failure_config=tune.FailureConfig(max_failures=RESTARTS),
        ),
    ).fit()
    if results.errors:
        raise RhoRayError(f"a trial failed: {str(results.errors[0]).strip().splitlines()[-1]}")
    return sorted((_as_trial(r, len(task.folds)) for r in results), key=lambda trial: trial.number)


def _as_trial(result: tune.Result, num_folds: int) -> Trial:
    assert result.config is not None
    assert result.metrics is not None
    about, errors = result.config["trial"], tuple(result.metrics["errors"])
    return Trial(about["number"], about["params"], errors, result.metrics["r2"], len(errors) == num_folds)


def predictions_of(folder: str, trial: Trial) -> np.ndarray:
    """Return the out-of-fold predictions of a complete trial, in the target's unit."""
    content = read_bytes(join(folder, f"{trial.number:04}-{OUT_OF_FOLD}"))
    return np.load(io.BytesIO(content), allow_pickle=False)


def _trial(config: dict[str, Any], task: Task, folder: str) -> None:
    """Cross-validate one setting; after each fold report the mean absolute error so far.

    After the last fold the out-of-fold predictions are kept: whoever wins need not be cross-validated again.
    """
    hush_workers()
    about = config["trial"]
    found = np.full(len(task.values), np.nan)
    errors: list[float] = []
    for test, predictions in fold_predictions(task.folds, functools.partial(task.fit_predict, about["params"])):
        found[test] = predictions
        metrics = regression_metrics(task.values, found)
        errors.append(metrics["mae"])
        if len(errors) == len(task.folds):
            buffer = io.BytesIO()
            np.save(buffer, found)
            write_bytes(join(folder, f"{about['number']:04}-{OUT_OF_FOLD}"), buffer.getvalue())
        tune.report({"fold": len(errors), METRIC: metrics["mae"], "r2": metrics["r2"], "errors": list(errors)})
