"""Metrics against scikit-learn, and what does not count."""

import numpy as np
import pytest
from sklearn import metrics as sk

from rhoray.evaluate.metrics import coverage, regression_metrics

RNG = np.random.default_rng(0)
POSITIVE = RNG.lognormal(4, 1, 200)
NEAR = POSITIVE * RNG.lognormal(0, 0.2, 200)


def test_linear_metrics_are_scikit_learns():
    found = regression_metrics(POSITIVE, NEAR)
    assert found["r2"] == sk.r2_score(POSITIVE, NEAR)
    assert found["mae"] == sk.mean_absolute_error(POSITIVE, NEAR)
    assert found["rmse"] == pytest.approx(np.sqrt(sk.mean_squared_error(POSITIVE, NEAR)), rel=1e-14)
    assert found["n"] == 200


def test_log_metrics_are_those_of_log10():
    found = regression_metrics(POSITIVE, NEAR)
    assert found["r2_log"] == pytest.approx(sk.r2_score(np.log(POSITIVE), np.log(NEAR)), rel=1e-12)
    assert found["mae_log10"] == pytest.approx(np.abs(np.log10(POSITIVE / NEAR)).mean(), rel=1e-12)


def test_perfect_predictions():
    found = regression_metrics(POSITIVE, POSITIVE)
    assert (found["r2"], found["mae"], found["rmse"], found["r2_log"], found["mae_log10"]) == (1, 0, 0, 1, 0)


def test_the_mean_explains_nothing():
    assert regression_metrics(POSITIVE, np.full(200, POSITIVE.mean()))["r2"] == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("side", [0, 1], ids=["expected", "found"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_rows_that_are_not_finite_do_not_count(side, bad):
    pair = [POSITIVE.copy(), NEAR.copy()]
    pair[side][::3] = bad
    kept = np.arange(200) % 3 != 0
    assert regression_metrics(*pair) == regression_metrics(POSITIVE[kept], NEAR[kept])


@pytest.mark.parametrize("value", [0.0, -1.0], ids=["zero", "negative"])
@pytest.mark.parametrize("side", [0, 1], ids=["expected", "found"])
def test_no_logarithm_of_what_is_not_positive(side, value):
    pair = [POSITIVE.copy(), NEAR.copy()]
    pair[side][7] = value
    assert regression_metrics(*pair).keys() == {"r2", "mae", "rmse", "n"}


@pytest.mark.parametrize("rows", [0, 1])
def test_too_few_rows_only_count(rows):
    expected = np.full(5, np.nan)
    expected[:rows] = 1
    assert regression_metrics(expected, np.ones(5)) == {"n": rows}


def test_coverage_is_a_share():
    lower, upper = np.zeros(4), np.ones(4)
    assert coverage(np.array([0.5, 0.5, 2.0, -1.0]), lower, upper) == 0.5


def test_ends_are_inside_and_unknown_labels_do_not_count():
    assert coverage(np.array([0.0, 1.0, np.nan, 1.5]), np.zeros(4), np.ones(4)) == pytest.approx(2 / 3)
