"""Conformal intervals cover what they promise."""

import numpy as np
import pytest

from rhoray.core.intervals import COVERAGE, WIDEST, Calibration, calibrate, with_derived_spreads
from rhoray.core.targets import debye_temperature, youngs_modulus


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


@pytest.mark.parametrize("log", [False, True], ids=["distance", "factor"])
def test_adaptive_intervals_cover_and_are_narrower(log):
    rng = np.random.default_rng(2)
    truth = rng.uniform(3, 5, 12000)
    spread = np.exp(rng.normal(-1, 0.6, len(truth)))
    found = truth + spread * rng.normal(size=len(truth))
    if log:
        truth, found = np.exp(truth), np.exp(found)
    new = slice(2000, None)
    adaptive = calibrate(truth[:2000], found[:2000], log=log, spread=spread[:2000])
    lower, upper = adaptive.interval(found[new], spread[new])
    covered = (truth[new] >= lower) & (truth[new] <= upper)
    easy = spread[new] < np.median(spread)
    assert covered[easy].mean() == pytest.approx(COVERAGE, abs=0.03)
    assert covered[~easy].mean() == pytest.approx(COVERAGE, abs=0.03)
    low, high = calibrate(truth[:2000], found[:2000], log=log).interval(found[new])
    wide, narrow = (np.log(b) - np.log(a) if log else b - a for a, b in ((low, high), (lower, upper)))
    assert narrow.mean() < 0.95 * wide.mean()


def test_an_unknown_spread_is_the_widest_and_a_missing_one_typical():
    calibration = Calibration(2.0, False, 100, typical=0.5)
    _, upper = calibration.interval(np.zeros(3), np.array([0.5, np.nan, 1e9]))
    np.testing.assert_allclose(upper, [1, WIDEST, WIDEST])
    assert calibration.interval(np.zeros(1))[1] == 1


def test_derived_spreads_are_those_of_the_closed_forms():
    bulk, shear = np.array([150.0, 40.0, 300.0]), np.array([70.0, 39.0, 10.0])
    values = {"bulk_modulus": bulk, "shear_modulus": shear}
    of_bulk, of_shear = np.array([0.01, 0.0, 0.02]), np.array([0.0, 0.01, 0.02])
    spreads = with_derived_spreads(values, {"bulk_modulus": of_bulk, "shear_modulus": of_shear})
    facts = np.array([5.0, 6.0, 7.0]), np.array([12.0, 14.0, 20.0])
    for name, formula in (
        ("youngs_modulus", youngs_modulus),
        ("debye_temperature", lambda k, g: debye_temperature(k, g, *facts)),
    ):
        h = 1e-5
        by_bulk = np.log(formula(bulk * np.exp(h), shear) / formula(bulk, shear)) / h
        by_shear = np.log(formula(bulk, shear * np.exp(h)) / formula(bulk, shear)) / h
        np.testing.assert_allclose(spreads[name], np.hypot(by_bulk * of_bulk, by_shear * of_shear), rtol=1e-3)


def test_no_spread_of_what_can_not_be_derived():
    known = {"bulk_modulus": np.ones(2)}
    assert with_derived_spreads(known, known).keys() == {"bulk_modulus"}
