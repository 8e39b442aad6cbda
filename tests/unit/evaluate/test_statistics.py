"""Intervals that hold what they promise, and comparisons that know when there is nothing to find."""

import numpy as np
import pytest
from sklearn.metrics import mean_absolute_error

from rhoray.evaluate.statistics import bootstrap, draws, paired

RNG = np.random.default_rng(0)


def test_a_bootstrap_interval_covers_the_truth():
    hits = 0
    for seed in range(60):
        error = np.random.default_rng(seed).normal(size=200)
        samples = draws([str(i) for i in range(200)], seed, 200)
        found = bootstrap(mean_absolute_error, np.zeros(200), error, samples)
        hits += found.lower <= np.sqrt(2 / np.pi) <= found.upper
    assert hits >= 52


def test_groups_are_drawn_whole():
    groups = ["a", "a", "b", "c", "c", "c"]
    for rows in draws(groups, 0, 50):
        drawn = [groups[i] for i in rows]
        assert drawn.count("a") % 2 == 0
        assert drawn.count("c") % 3 == 0


def test_a_bootstrap_is_reproducible():
    first, again = draws(["a", "b", "c"], 4, 5), draws(["a", "b", "c"], 4, 5)
    assert all((a == b).all() for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("scale", "better"), [(0.7, True), (1.0, False)])
def test_a_paired_test_finds_what_is_there(scale, better):
    expected = RNG.normal(size=400)
    one, other = expected + scale * RNG.normal(size=400), expected + RNG.normal(size=400)
    found = paired(expected, one, other, draws([str(i) for i in range(400)], 0, 300))
    assert (found.change.upper < 0) == better
    assert (found.p_value < 0.01) == better


def test_a_model_does_not_differ_from_itself():
    expected, one = RNG.normal(size=50), RNG.normal(size=50)
    found = paired(expected, one, one, draws([str(i) for i in range(50)], 0, 50))
    assert (found.change.value, found.change.lower, found.change.upper, found.p_value) == (0, 0, 0, 1)
