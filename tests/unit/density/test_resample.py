"""Periodic Fourier resampling: the electron count is kept on any grid, band-limited fields are exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.density.resample import fourier_resample
from tests.unit.builders import skewed

shapes = st.tuples(*[st.integers(1, 11)] * 3)
quick = settings(max_examples=40, deadline=None)


def field(shape):
    """A band-limited field, waves up to index 3, sampled on any grid."""
    x, y, z = np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij")
    waves = np.cos(2 * np.pi * (x + 2 * y - 3 * z)) + 0.5 * np.sin(2 * np.pi * (3 * x - y + z))
    return 2 + waves + 0.2 * np.cos(2 * np.pi * 2 * z)


@quick
@given(old=shapes, new=shapes, seed=st.integers(0, 99))
def test_the_electron_count_is_kept(old, new, seed):
    values = np.random.default_rng(seed).uniform(0, 50, old)
    found = fourier_resample(values, new)
    assert found.shape == new
    assert found.mean() == pytest.approx(values.mean(), rel=1e-12)


@pytest.mark.parametrize("old", [(7, 7, 7), (8, 9, 10), (16, 12, 11)])
@pytest.mark.parametrize("new", [(7, 7, 7), (8, 8, 8), (15, 9, 16), (20, 21, 7)])
def test_a_band_limited_field_is_exact_up_and_down(old, new):
    np.testing.assert_allclose(fourier_resample(field(old), new), field(new), atol=1e-12)


@quick
@given(old=shapes, more=st.tuples(*[st.integers(0, 9)] * 3), seed=st.integers(0, 99))
def test_up_and_down_again_is_the_identity(old, more, seed):
    values = np.random.default_rng(seed).normal(size=old)
    finer = tuple(n + m for n, m in zip(old, more, strict=True))
    np.testing.assert_allclose(fourier_resample(fourier_resample(values, finer), old), values, atol=1e-12)


@pytest.mark.parametrize("factor", [2, 3])
@pytest.mark.parametrize("shape", [(4, 6, 8), (5, 7, 9)], ids=["even", "odd"])
def test_the_interpolant_goes_through_the_grid_points(shape, factor):
    values = np.random.default_rng(0).normal(size=shape)
    finer = fourier_resample(values, tuple(factor * n for n in shape))
    np.testing.assert_allclose(finer[::factor, ::factor, ::factor], values, atol=1e-12)


@pytest.mark.parametrize("steps", [(1, 0, 0), (0, 2, -1), (3, -1, 2)])
@pytest.mark.parametrize("shape", [(6, 8, 10), (5, 7, 9)], ids=["even", "odd"])
def test_translations_commute_with_resampling(shape, steps):
    values = np.random.default_rng(1).normal(size=shape)
    finer = tuple(2 * n for n in shape)
    found = fourier_resample(np.roll(values, steps, (0, 1, 2)), finer)
    expected = np.roll(fourier_resample(values, finer), [2 * s for s in steps], (0, 1, 2))
    np.testing.assert_allclose(found, expected, atol=1e-12)


@pytest.mark.parametrize("order", [(1, 2, 0), (2, 1, 0), (0, 2, 1)])
def test_no_axis_is_special(order):
    values = np.random.default_rng(2).normal(size=(6, 7, 8))
    new = (9, 4, 12)
    found = fourier_resample(values.transpose(order), tuple(new[i] for i in order))
    np.testing.assert_allclose(found, fourier_resample(values, new).transpose(order), atol=1e-12)


def test_atoms_density_is_what_the_finer_sum_gives():
    coarse, fine = skewed((18, 20, 24)), skewed((27, 30, 36))
    np.testing.assert_allclose(fourier_resample(coarse.values, (27, 30, 36)), fine.values, atol=1e-3)


def test_the_input_is_neither_changed_nor_returned():
    values = np.ones((4, 4, 4))
    found = fourier_resample(values, (4, 4, 4))
    found[:] = 7
    assert (values == 1).all()
