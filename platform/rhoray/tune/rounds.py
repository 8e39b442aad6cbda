"""A search in rounds: what to try next depends on finished rounds alone, so that one seed gives one search.

Optuna's TPE proposes a round's settings from all trials of earlier rounds, and a trial is stopped when after as many
folds it is behind half of theirs: successive halving with the rungs of ASHA (Li et al., MLSys 2020, arXiv:1810.05934),
but not its order of arrival, which no two runs share. A round is kept as one JSON file: a search that was killed goes
on behind its last finished round.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import optuna
from optuna.distributions import BaseDistribution

# After so many folds a trial may be stopped; the first fold alone says little.
GRACE = 2
KEPT = 0.5

Params = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Trial:
    """One setting that was tried.

    Attributes:
        number: in the order of proposal.
        params: the setting.
        errors: mean absolute error after one fold, two folds, …
        r2: after the last of them.
        complete: whether it went through all folds.
    """

    number: int
    params: Params
    errors: tuple[float, ...]
    r2: float
    complete: bool


def limits(finished: Sequence[Trial], num_folds: int) -> dict[int, float]:
    """Return the error above which a trial is stopped, by the number of folds it has gone through."""
    found = {}
    for fold in range(GRACE, num_folds):
        errors = [trial.errors[fold - 1] for trial in finished if len(trial.errors) >= fold]
        if errors:
            found[fold] = float(np.quantile(errors, KEPT))
    return found


def propose(
    search: dict[str, BaseDistribution], start: Params, finished: Sequence[Trial], count: int, seed: int
) -> list[Params]:
    """Return the settings of the next round; the first setting of all is `start`.

    The same arguments give the same settings, in this process and in any other.

    Args:
        search: name to range.
        start: a setting inside them.
        finished: trials of earlier rounds, in order.
        count: settings wanted.
        seed: of the whole search.
    """
    sampler = optuna.samplers.TPESampler(
        seed=int(np.random.default_rng([seed, len(finished)]).integers(2**31)), constant_liar=True
    )
    study = optuna.create_study(direction="minimize", sampler=sampler)
    study.add_trials([_as_optuna(trial, search) for trial in finished])
    first = [] if finished else [dict(start)]
    return [*first, *(dict(study.ask(search).params) for _ in range(count - len(first)))]


def _as_optuna(trial: Trial, search: dict[str, BaseDistribution]) -> optuna.trial.FrozenTrial:
    state = optuna.trial.TrialState.COMPLETE if trial.complete else optuna.trial.TrialState.PRUNED
    return optuna.trial.create_trial(
        state=state,
        params=trial.params,
        distributions=search,
        value=trial.errors[-1],
        intermediate_values=dict(enumerate(trial.errors, 1)),
    )


def importances(search: dict[str, BaseDistribution], finished: Sequence[Trial], seed: int) -> dict[str, float]:
    """Return how much of the error's variance each hyper-parameter explains, the most important first.

    Source: Hutter et al., ICML 2014 (functional ANOVA), as Optuna has it. Empty with less than four complete trials.
    """
    study = optuna.create_study(direction="minimize")
    complete = [trial for trial in finished if trial.complete]
    if len(complete) < 4 or len({trial.errors[-1] for trial in complete}) < 2:
        return {}
    study.add_trials([_as_optuna(trial, search) for trial in complete])
    evaluator = optuna.importance.FanovaImportanceEvaluator(seed=seed)
    return {name: float(v) for name, v in optuna.importance.get_param_importances(study, evaluator=evaluator).items()}


def to_bytes(trials: Sequence[Trial]) -> bytes:
    """Return the file of a round."""
    return json.dumps([asdict(trial) for trial in trials], indent=1).encode() + b"\n"


def from_bytes(content: bytes) -> list[Trial]:
    """Invert `to_bytes`."""
    return [Trial(**{**raw, "errors": tuple(raw["errors"])}) for raw in json.loads(content)]
