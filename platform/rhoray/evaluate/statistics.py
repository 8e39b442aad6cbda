"""How sure a comparison is: bootstrap intervals, and paired tests between models on the same crystals.

What is drawn is groups (formulas, say), not rows: polymorphs share what made them easy or hard.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.stats
from jaxtyping import Float, Int

Values = Float[np.ndarray, " n"]
DRAWS = 1000
TAIL = 2.5


@dataclass(frozen=True, slots=True)
class Estimate:
    """A statistic with its 95 % bootstrap interval."""

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True)
class Paired:
    """The error of one model against that of another on the same crystals.

    Attributes:
        change: relative change of the mean absolute error, below 0 when the first is better.
        p_value: of Wilcoxon's signed-rank test that neither is better.
    """

    change: Estimate
    p_value: float


def draws(groups: Sequence[str], seed: int, count: int = DRAWS) -> list[Int[np.ndarray, " _rows"]]:
    """Return the rows of `count` bootstrap samples of the groups."""
    _, of_row = np.unique(np.asarray(groups), return_inverse=True)
    members = np.split(np.argsort(of_row, kind="stable"), np.cumsum(np.bincount(of_row))[:-1])
    rng = np.random.default_rng(seed)
    picks = rng.integers(len(members), size=(count, len(members)))
    return [np.concatenate([members[i] for i in pick]) for pick in picks]


def bootstrap(
    statistic: Callable[[Values, Values], float], expected: Values, found: Values, samples: Sequence[np.ndarray]
) -> Estimate:
    """Return a statistic of labels and predictions with its interval over bootstrap samples."""
    drawn = [statistic(expected[rows], found[rows]) for rows in samples]
    low, high = np.percentile(drawn, [TAIL, 100 - TAIL])
    return Estimate(float(statistic(expected, found)), float(low), float(high))


def paired(expected: Values, found: Values, reference: Values, samples: Sequence[np.ndarray]) -> Paired:
    """Compare the predictions `found` with `reference`, both of the same rows."""
    one, other = np.abs(found - expected), np.abs(reference - expected)
    drawn = [one[rows].mean() / other[rows].mean() - 1 for rows in samples]
    low, high = np.percentile(drawn, [TAIL, 100 - TAIL])
    same = bool(np.allclose(one, other))
    p_value = 1.0 if same else float(scipy.stats.wilcoxon(one, other).pvalue)
    return Paired(Estimate(float(one.mean() / other.mean() - 1), float(low), float(high)), p_value)
