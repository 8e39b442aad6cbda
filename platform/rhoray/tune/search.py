"""Search hyper-parameters with Ray Tune, then fit the winner: one regressor per target.

A trial is a cross-validation that reports its running mean error after each fold; `rounds` says which settings are
tried and when one is given up. Folds keep formulas together. Crystals of split `test` take no part in any of it.
"""

import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Composition

from rhoray.core.errors import DatasetError, RhoRayError
from rhoray.core.storage import exists, join, normalise, read_bytes, write_bytes
from rhoray.core.targets import TARGETS, Target, get_target
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import grouped_folds
from rhoray.features.registry import get_blocks
from rhoray.features.volume import VOLUME
from rhoray.models.difficulty import Difficulty, fit_difficulty, spread_out_of_fold
from rhoray.models.domain import fit_domain
from rhoray.models.regressor import About, Regressor, to_model_scale
from rhoray.pipeline.features import FeatureTable, feature_table
from rhoray.registry.run_files import write_run
from rhoray.tune.fitting import ModelKind, fit_model
from rhoray.tune.labels import check_label
from rhoray.tune.progress import TrialProgress
from rhoray.tune.report import write_report
from rhoray.tune.rounds import Params, Trial, from_bytes, limits, propose, to_bytes
from rhoray.tune.spaces import SPACES, Space
from rhoray.tune.trials import Task, free_actors, predictions_of, run_round

FEWEST_ROWS = 20
TRAINED_ON = ("train", "val")
FINGERPRINT = "search.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class SearchConfig:
    """What to search.

    Attributes:
        latents: dataset of latents, with labels.
        targets: label columns to learn.
        out: URI of the run.
        model: lightgbm, xgboost, or attention_cnn (which sees the latent itself in place of its pooled numbers).
        features: blocks, in order.
        trials: settings to try for each target.
        resume: go on with an interrupted search at `out`.
        folds: of the cross-validation.
        round_size: settings tried at once; more would be faster on many CPUs and learn less from each other.
        seed: of folds, trees and the searcher.
    """

    latents: str
    targets: Sequence[str]
    out: str
    model: ModelKind = "lightgbm"
    features: Sequence[str] = ("latent", "magpie", "density")
    trials: int = 20
    resume: bool = False
    folds: int = 5
    round_size: int = 4
    seed: int = 0


@dataclass(frozen=True, slots=True)
class _Found:
    """What the search of one target gives."""

    regressor: Regressor
    out_of_fold: pd.DataFrame
    difficulty: Difficulty
    space: Space
    trials: list[Trial]


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
    config = _with_volume(config)
    table = feature_table(config.latents, config.features)
    _check_labels(table.materials, config)
    found = {name: _search_target(config, table, get_target(name), out) for name in config.targets}
    rows, plain = _trainable(table.materials), _plain(table.labels)
    domain = fit_domain(
        [s for formula in table.materials.formula[rows] for s in _elements(formula)],
        [table.labels[i] for i in plain],
        table.values[rows][:, plain],
        table.materials.density_kind[rows].tolist(),
    )
    formulas = sorted(set(table.materials.formula[rows]))
    fitted = {name: (one.regressor, one.out_of_fold) for name, one in found.items()}
    write_run(out, fitted, domain, formulas, {name: one.difficulty for name, one in found.items()})
    write_report(out, {one.regressor.target: (one.space, one.trials) for one in found.values()}, config.seed)
    return {
        "targets": {n: {k: r.about.metrics[k] for k in ("r2", "mae")} for n, (r, _) in fitted.items()},
        "trials": sum(len(one.trials) for one in found.values()),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
    }


def _with_volume(config: SearchConfig) -> SearchConfig:
    """Return the config with the blocks that its model looks at: the network needs the volume first."""
    if config.model != "attention_cnn":
        return config
    others = [name for name in config.features if name not in ("latent", VOLUME)]
    return replace(config, features=(VOLUME, *others))


def _plain(labels: list[str]) -> list[int]:
    """Return the columns that a person, a span or a tree can do something with."""
    plain = [i for i, label in enumerate(labels) if not label.startswith(f"{VOLUME}.")]
    return plain or list(range(len(labels)))


def _elements(formula: str) -> list[str]:
    return [element.symbol for element in Composition(formula).elements]


def _trainable(materials: pd.DataFrame) -> np.ndarray:
    return materials.split.isin(TRAINED_ON).to_numpy()


def _check_labels(materials: pd.DataFrame, config: SearchConfig) -> None:
    for name in config.targets:
        check_label(materials, name, config.latents)
        count = int(materials[name][_trainable(materials)].notna().sum())
        if count < FEWEST_ROWS:
            raise DatasetError(
                f"{name}: {count} labelled crystals to learn from (without those held out as test), "
                f"expected at least {FEWEST_ROWS}"
            )


def _search_target(config: SearchConfig, table: FeatureTable, target: Target, out: str) -> _Found:
    """Search one target's settings and fit the best."""
    labels = table.materials[target.name].to_numpy(float)
    rows = np.flatnonzero(_trainable(table.materials) & np.isfinite(labels))
    materials = table.materials.iloc[rows].reset_index(drop=True)
    space = SPACES[config.model]()
    task = Task(
        config.model,
        table.values[rows],
        labels[rows],
        target.positive,
        grouped_folds(materials.formula.tolist(), count=config.folds, seed=config.seed),
        space.fixed,
        config.seed,
        free_actors() if config.model == "xgboost" else 0,
    )
    folder = join(out, "tune", target.name)
    trials = _rounds(task, space, config, folder, target)
    best = _best(trials)
    found = predictions_of(folder, best)
    regressor = _fit(task, best.params, config, table, target, found)
    spread, difficulty = _difficulty(task, found, table.labels)
    columns = ["material_id", "formula", "mass_density", "volume_per_atom"]
    predictions = materials[columns].assign(expected=task.values, found=found, spread=spread)
    return _Found(regressor, predictions, difficulty, space, trials)


def _fingerprint(task: Task, config: SearchConfig) -> bytes:
    """Return what decides a search's results; a search is resumed only as what it was."""
    arrays = hashlib.sha256(task.features.tobytes() + task.values.tobytes()).hexdigest()
    about = {"model": config.model, "features": list(config.features), "data": arrays, "folds": config.folds}
    return json.dumps({**about, "round_size": config.round_size, "seed": config.seed}, sort_keys=True).encode()


def _rounds(task: Task, space: Space, config: SearchConfig, folder: str, target: Target) -> list[Trial]:
    """Run the rounds that are not there yet; return the trials of all."""
    fingerprint, kept = _fingerprint(task, config), join(folder, FINGERPRINT)
    resumed = config.resume and exists(kept)
    if resumed and read_bytes(kept) != fingerprint:
        raise DatasetError(f"{folder}: that search had other data or flags, expected the same")
    write_bytes(kept, fingerprint)
    trials: list[Trial] = []
    while len(trials) < config.trials:
        count = min(config.round_size, config.trials - len(trials))
        uri = join(folder, f"round-{len(trials):04}-{count}.json")
        if resumed and exists(uri):
            trials += from_bytes(read_bytes(uri))
            continue
        settings = propose(space.search, space.start, trials, count, config.seed)
        best = min((t.errors[-1] for t in trials), default=float("inf"))
        progress = TrialProgress(config.trials, target.label, target.unit, done=len(trials), best=best)
        found = run_round(task, settings, limits(trials, len(task.folds)), folder, progress)
        write_bytes(uri, to_bytes(found))
        trials += found
    return trials


def _best(trials: list[Trial]) -> Trial:
    """Return the best trial that went through all folds: partial means do not compare with full ones."""
    return min((t for t in trials if t.complete), key=lambda t: (t.errors[-1], t.number))


def _fit(
    task: Task, params: Params, config: SearchConfig, table: FeatureTable, target: Target, found: np.ndarray
) -> Regressor:
    """Fit the winner's setting to all rows; `found` are its out-of-fold predictions."""
    y = to_model_scale(task.values, log=task.log)
    trees = fit_model(config.model, task.features, y, {**task.fixed, **params}, config.seed)
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
        count=len(task.values),
        seed=config.seed,
    )
    return Regressor(about, trees)


def _difficulty(task: Task, found: np.ndarray, labels: list[str]) -> tuple[np.ndarray, Difficulty]:
    """Return out-of-fold spreads, and the model of residuals that a bundle takes along."""
    predictions = to_model_scale(found, log=task.log)
    residuals = to_model_scale(task.values, log=task.log) - predictions
    plain = _plain(labels)
    features = task.features[:, plain]
    spread = spread_out_of_fold(task.folds, features, predictions, residuals)
    return spread, fit_difficulty([labels[i] for i in plain], features, predictions, residuals)
