"""Labels that are wrong are found by what all the others say, and by nothing that a prediction is judged by."""

from dataclasses import replace

import numpy as np
import pytest

from rhoray.train import kernel as k
from rhoray.train.ensemble import Crystals, EnsembleSettings, believed

ROWS = 300
WRONG = (7, 60, 130, 201, 222)


@pytest.fixture(scope="module")
def crystals() -> Crystals:
    features = np.random.default_rng(0).normal(size=(ROWS, 5))
    return Crystals(features, [f"cell.{i}" for i in range(5)])


@pytest.fixture(scope="module")
def values(crystals) -> np.ndarray:
    x = crystals.features
    smooth = np.sin(x[:, 0]) + 0.3 * x[:, 1] * x[:, 2]
    smooth[10] = np.nan
    return smooth + 0.01 * np.random.default_rng(1).normal(size=ROWS)


def test_labels_that_are_off_by_a_factor_of_two_are_not_learned_from(crystals, values):
    wrong = values.copy()
    wrong[list(WRONG)] += np.log(2) * np.array([1, -1, 1, -1, 1])
    share = len(WRONG) / (ROWS - 1)
    left = believed(crystals, {"bulk_modulus": wrong}, EnsembleSettings(doubtful=share), seed=0)["bulk_modulus"]
    assert set(np.flatnonzero(np.isnan(left))) == {*WRONG, 10}
    kept = np.isfinite(left)
    np.testing.assert_array_equal(left[kept], wrong[kept])


def test_what_came_in_stays_as_it_is(crystals, values):
    given = values.copy()
    believed(crystals, {"bulk_modulus": given}, EnsembleSettings(), seed=0)
    np.testing.assert_array_equal(given, values)


def test_nothing_is_doubted_where_no_share_is_given(crystals, values):
    left = believed(crystals, {"bulk_modulus": values}, EnsembleSettings(doubtful=0.0), seed=0)["bulk_modulus"]
    np.testing.assert_array_equal(left, values)


def test_leaving_one_out_is_what_it_says(crystals, values):
    """The closed form gives what fitting without the row and predicting it gives, at the same scales."""
    known = np.flatnonzero(np.isfinite(values))
    linear, settings = np.zeros(5), k.KernelSettings(steps=3)
    far = k.surprise(crystals.features[known], values[known], linear, settings, seed=0)
    rows = k._rows(crystals.features[known], values[known], linear)
    scales = k._scales(rows, settings, seed=0)
    points = rows.x * scales.near
    for left_out in (0, 100):
        others = np.delete(np.arange(len(known)), left_out)
        weights = k._weights(points[others], rows.lines[others], rows.y[others], scales, rounds=0)
        covariance = scales.covariance(points, rows.lines)[left_out, others]
        expected = abs(float(rows.y[left_out] - covariance @ weights)) * rows.deviation
        assert far[left_out] == pytest.approx(expected, rel=1e-6)


def test_a_wrong_label_moves_its_neighbours_less(crystals, values):
    """The mean at the rows next to wrong labels stays nearer to what it is without them."""
    known = np.flatnonzero(np.isfinite(values))
    features, right = crystals.features[known], values[known]
    wrong = right.copy()
    wrong[::25] += 2.0
    settings = k.KernelSettings(steps=20)
    plain, robust = (
        k.fit_kernel(features, wrong, np.zeros(5), replace(settings, rounds=rounds), seed=0).predict(features)
        for rounds in (0, 2)
    )
    others = np.arange(len(known)) % 25 != 0
    off = [np.abs(found - right)[others].mean() for found in (plain, robust)]
    assert off[1] < 0.7 * off[0]


def test_labels_without_any_error_are_learned(crystals):
    """Where the others say every label exactly, no round divides by zero."""
    exact = np.ones(ROWS)
    exact[0] = 2.0
    fitted = k.fit_kernel(crystals.features, exact, np.zeros(5), k.KernelSettings(steps=3), seed=0)
    assert np.isfinite(fitted.predict(crystals.features)).all()
