"""What a search leaves for a reader: a table of its trials, and pictures of how it went and of what mattered."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from rhoray.core.storage import join, write_bytes
from rhoray.core.targets import Target
from rhoray.evaluate.plots import bars_figure, history_figure
from rhoray.tune.rounds import Trial, importances
from rhoray.tune.spaces import Space

TRIALS = "trials.csv"


def trial_table(target: str, trials: Sequence[Trial]) -> pd.DataFrame:
    """Return one row per trial: target, trial, mae, r2, folds, complete, and the hyper-parameters."""
    return pd.DataFrame(
        {
            "target": target, "trial": t.number, "mae": t.errors[-1], "r2": t.r2, "folds": len(t.errors),
            "complete": t.complete, **t.params,
        }
        for t in trials
    )  # fmt: skip


def write_report(uri: str, searches: dict[Target, tuple[Space, Sequence[Trial]]], seed: int) -> None:
    """Write trials.csv, history_<target>.png and, with enough complete trials, importance_<target>.png."""
    tables = []
    for target, (space, trials) in searches.items():
        tables.append(trial_table(target.name, trials))
        errors = np.array([trial.errors[-1] for trial in trials])
        complete = np.array([trial.complete for trial in trials])
        history = history_figure(target.label, target.unit, errors, complete)
        write_bytes(join(uri, f"history_{target.name}.png"), history)
        shares = importances(space.search, trials, seed)
        if shares:
            picture = bars_figure(f"what decided the error of the {target.label}", shares, "share of the variance")
            write_bytes(join(uri, f"importance_{target.name}.png"), picture)
    write_bytes(join(uri, TRIALS), pd.concat(tables).to_csv(index=False).encode())
