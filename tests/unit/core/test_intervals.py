"""Conformal intervals cover what they promise."""

import numpy as np
import pytest

from rhoray.core.intervals import COVERAGE, Calibration, calibrate


@pytest.mark.parametrize("log", [False, True], ids=["distance", "factor"])
@pytest.mark.parametrize("noise", ["normal", "laplace"])
def test_new_residuals_are_covered(log, noise):
    rng = np.random.default_rng(0)
    truth = rng.uniform(3, 5, 12000)
    found = truth + getattr(rng, noise)(0, 0.3, len(truth))
    if log:
        truth, found = np.exp(truth), np.exp(found)
    lower, upper = calibrate(truth[:2000], found[:2000], log=log).interval(found[2000:])
    covered = ((truth[2000:] >= lower) & (truth[2000:] <= upper)).mean()
    assert covered == pytest.approx(COVERAGE, abs=0.02)


def test_small_calibrations_still_cover_on_average():
    rng = np.random.default_rng(1)
    residuals = rng.normal(size=(3000, 21))
    widths = [calibrate(r[:20], np.zeros(20), log=False).width for r in residuals]
    assert np.mean(np.abs(residuals[:, 20]) <= widths) >= COVERAGE - 0.01


@pytest.mark.parametrize("log", [False, True], ids=["distance", "factor"])
def test_no_residuals_no_promise(log):
    calibration = calibrate(np.array([np.nan]), np.array([1.0]), log=log)
    lower, upper = calibration.interval(np.array([7.0]))
    assert calibration.count == 0
    assert lower[0] == (0 if log else -np.inf)
    assert upper[0] == np.inf


def test_the_width_is_an_order_statistic():
    found = np.arange(1.0, 20.0)  # 19 residuals: the 18th smallest
    assert calibrate(np.zeros(19), found, log=False) == Calibration(18.0, False, 19)


def test_a_factor_keeps_positive_values_positive():
    lower, upper = Calibration(3.0, True, 10).interval(np.array([1e-3, 200.0]))
    assert (lower > 0).all()
    np.testing.assert_allclose(lower * upper, np.array([1e-3, 200.0]) ** 2)


def test_rows_without_a_label_do_not_count():
    calibration = calibrate(np.array([1.0, np.nan, 2.0]), np.array([1.5, 9.0, np.inf]), log=False)
    assert (calibration.count, calibration.width) == (1, 0.5)
