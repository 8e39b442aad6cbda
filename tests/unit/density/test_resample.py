"""Periodic Fourier resampling: the electron count is kept on any grid, band-limited fields are exact."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.density.resample import PASS_BAND, fourier_resample, interpolate_block
from tests.unit.builders import skewed

shapes = st.tuples(*[st.integers(1, 11)] * 3)
quick = settings(max_examples=40, deadline=None)
few = settings(max_examples=20, deadline=None)


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


# With the taper that frames use.


coarse_shapes = st.tuples(*[st.integers(6, 11)] * 3)
# Ringing is stated for 16 points or more; on fewer it is up to 18 %.
sixteen_or_more = st.tuples(*[st.integers(16, 20)] * 3)


def shrunk(values, shape):
    return fourier_resample(values, shape, taper=True)


def peak(shape, centre, width):
    """Return a Gaussian on a periodic grid; `centre` is in cells, `width` in cells along each axis."""
    axes = []
    for n, c, w in zip(shape, centre, width, strict=True):
        away = (np.arange(n) / n - c + 0.5) % 1 - 0.5
        axes.append(np.exp(-0.5 * (away / w) ** 2))
    return np.einsum("i,j,k->ijk", *axes)


def undershoot(values):
    """Return the depth of the deepest dip in units of the highest peak."""
    return -values.min() / values.max()


@quick
@given(old=shapes, new=shapes, seed=st.integers(0, 99))
def test_the_taper_keeps_the_electron_count(old, new, seed):
    values = np.random.default_rng(seed).uniform(0, 50, old)
    assert shrunk(values, new).mean() == pytest.approx(values.mean(), rel=1e-12)


@quick
@given(old=shapes, more=st.tuples(*[st.integers(0, 9)] * 3), seed=st.integers(0, 99))
def test_the_taper_does_nothing_where_no_axis_shrinks(old, more, seed):
    values = np.random.default_rng(seed).normal(size=old)
    finer = tuple(n + m for n, m in zip(old, more, strict=True))
    np.testing.assert_array_equal(shrunk(values, finer), fourier_resample(values, finer))


@pytest.mark.parametrize("old", [(16, 17, 18), (20, 31, 16), (48, 48, 48)])
@pytest.mark.parametrize("new", [(12, 12, 12), (13, 12, 15), (15, 20, 12)])
def test_what_lies_in_the_pass_band_is_exact(old, new):
    assert PASS_BAND * min(new) / 2 >= 3
    np.testing.assert_allclose(shrunk(field(old), new), field(new), atol=1e-12)


@pytest.mark.parametrize("finer", [(24, 24, 24), (13, 40, 25)])
def test_up_and_tapered_down_again_is_the_identity_in_the_pass_band(finer):
    values = field((12, 13, 14))
    np.testing.assert_allclose(shrunk(fourier_resample(values, finer), (12, 13, 14)), values, atol=1e-12)


@quick
@given(new=coarse_shapes, factor=st.integers(2, 3), steps=st.tuples(*[st.integers(-5, 5)] * 3), seed=st.integers(0, 99))
def test_translations_commute_with_the_taper(new, factor, steps, seed):
    values = np.random.default_rng(seed).normal(size=[factor * n for n in new])
    found = shrunk(np.roll(values, [factor * s for s in steps], (0, 1, 2)), new)
    np.testing.assert_allclose(found, np.roll(shrunk(values, new), steps, (0, 1, 2)), atol=1e-12)


@quick
@given(new=coarse_shapes, order=st.permutations(range(3)), seed=st.integers(0, 99))
def test_no_axis_is_special_to_the_taper(new, order, seed):
    values = np.random.default_rng(seed).normal(size=(9, 14, 11))
    found = shrunk(values.transpose(order), tuple(new[i] for i in order))
    np.testing.assert_allclose(found, shrunk(values, new).transpose(order), atol=1e-12)


@few
@given(new=sixteen_or_more, factor=st.integers(2, 3), centre=st.tuples(*[st.floats(0, 1)] * 3))
def test_a_peak_of_a_third_of_a_voxel_rings_by_13_percent_at_most(new, factor, centre):
    old = tuple(factor * n for n in new)
    assert undershoot(shrunk(peak(old, centre, [0.3 / n for n in new]), new)) < 0.13


@few
@given(new=sixteen_or_more, old=st.tuples(*[st.integers(20, 40)] * 3), at=st.tuples(*[st.integers(0, 11)] * 3))
def test_a_single_point_rings_by_16_percent_at_most(new, old, at):
    values = np.zeros(old)
    values[at] = 1
    assert undershoot(shrunk(values, new)) < 0.16


def test_without_the_taper_a_peak_rings_by_more():
    new = (16, 16, 16)
    values = peak((48, 48, 48), [0.5 / 16] * 3, [0.3 / 16] * 3)  # between two points of the coarse grid
    assert undershoot(fourier_resample(values, new)) > 0.2 > 0.13 > undershoot(shrunk(values, new))


@pytest.mark.shared
@pytest.mark.parametrize("share", [0.5, 0.8])
def test_all_electron_densities_ring_by_16_percent_of_the_peak_at_most(shared, share):
    for path in (shared / "data" / "dialects").glob("*.npz"):
        with np.load(path) as z:
            values = z["ae"].astype(float)
        found = shrunk(values, tuple(int(share * n) for n in values.shape))
        assert undershoot(found) < 0.16
        assert found.mean() == pytest.approx(values.mean(), rel=1e-12)


# A block of the finer grid.


@quick
@given(
    old=st.tuples(*[st.integers(2, 9)] * 3),
    more=st.tuples(*[st.integers(0, 6)] * 3),
    start=st.tuples(*[st.integers(-20, 20)] * 3),
    length=st.tuples(*[st.integers(1, 17)] * 3),
    seed=st.integers(0, 99),
)
def test_a_block_is_part_of_the_whole(old, more, start, length, seed):
    values = np.random.default_rng(seed).normal(size=old)
    finer = tuple(n + m for n, m in zip(old, more, strict=True))
    index = np.ix_(*[(s + np.arange(n)) % m for s, n, m in zip(start, length, finer, strict=True)])
    expected = fourier_resample(values, finer)[index]
    np.testing.assert_allclose(interpolate_block(values, finer, start, length), expected, atol=1e-9)
