"""Three views of one crystal: what each conserves, and what each forgets."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.frames import BOX_SPACING, FRAME_KINDS, FRAME_SHAPE, to_frame
from rhoray.density.resample import fourier_resample
from tests.unit.builders import gaussians, permuted, rolled, rotation, salt, skewed, supercell, with_lattice


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_shape_dtype_and_layout(kind):
    frame = to_frame(skewed(), kind)
    assert frame.shape == FRAME_SHAPE
    assert frame.dtype == np.float32
    assert frame.flags.c_contiguous


def test_cell_keeps_the_mean_density():
    density = skewed()
    mean = to_frame(density, "cell").mean(dtype=np.float64)
    assert mean * density.volume == pytest.approx(density.n_electrons, rel=1e-6)


def test_cell_follows_a_shift_of_the_origin():
    density = salt((16, 16, 16))
    frame = to_frame(rolled(density, (1, -2, 3)), "cell")
    np.testing.assert_allclose(frame, np.roll(to_frame(density, "cell"), (8, -16, 24), (0, 1, 2)), atol=1e-5)


def spike(shape, at) -> ChargeDensity:
    """Return a nucleus: all charge at one point."""
    values = np.zeros(shape)
    values[at] = 1000.0
    return ChargeDensity(values, np.diag(np.array(shape) / 10), ("H",), np.zeros((1, 3)))


@pytest.mark.parametrize("shape", [(130, 16, 16), (160, 16, 144), (256, 16, 16)])
def test_cell_bounds_the_ringing_of_a_nucleus_and_keeps_its_charge(shape):
    density = spike(shape, (65, 8, 7))
    short = tuple(min(n, 128) for n in shape)
    frame = fourier_resample(density.values, short, taper=True)
    assert -frame.min() < 0.16 * frame.max()
    mean = to_frame(density, "cell").mean(dtype=np.float64)
    assert mean * density.volume == pytest.approx(density.n_electrons, rel=1e-5)


def test_cell_is_exact_for_a_smooth_density_on_a_long_axis():
    long, short = skewed((16, 16, 192)), skewed((16, 16, 64))
    np.testing.assert_allclose(to_frame(long, "cell"), to_frame(short, "cell"), atol=1e-4)


def test_cell_sees_no_lengths():
    density = skewed()
    frame = to_frame(with_lattice(density, 2 * density.lattice), "cell")
    np.testing.assert_array_equal(frame, to_frame(density, "cell"))


def test_padded_holds_the_values_at_the_origin_and_nothing_else():
    density = skewed((10, 12, 15))
    frame = to_frame(density, "padded")
    np.testing.assert_array_equal(frame[:10, :12, :15], density.values.astype(np.float32))
    assert np.count_nonzero(frame) <= density.values.size


def test_padded_shrinks_what_does_not_fit():
    density = skewed((8, 8, 160))
    frame = to_frame(density, "padded")
    assert frame.max() == pytest.approx(density.values.max(), rel=0.05)
    assert frame[:, :, 0].any()
    assert frame[:, :, -1].any()


def assert_same_box(density, counts):
    frame = to_frame(density, "box")
    error = np.abs(to_frame(supercell(density, counts), "box") - frame).sum() / frame.sum()
    assert error < 1e-4


@pytest.mark.parametrize("counts", [(2, 1, 1), (2, 2, 2)])
def test_box_sees_no_choice_of_cell(counts):
    assert_same_box(salt((24, 24, 24)), counts)


@settings(max_examples=3, deadline=None)
@given(counts=st.tuples(*[st.integers(1, 3)] * 3))
def test_box_sees_no_supercell(counts):
    assert_same_box(skewed((18, 20, 24)), counts)


@pytest.mark.parametrize("shape", [(80, 80, 80), (81, 90, 75)], ids=["even", "mixed"])
def test_box_of_a_cell_of_40_angstrom(shape):
    sites = np.array([[0.16, 0.15, 0.17], [0.99, 0.01, 0.3], [0.7, 0.6, 0.5]])
    density = gaussians(40 * np.eye(3), ["O"] * 3, sites, [6] * 3, [0.9] * 3, shape)
    axis = np.arange(128) * BOX_SPACING
    expected = np.zeros(FRAME_SHAPE)
    for site in 40 * sites:
        away = (axis[:, None] - site + 20) % 40 - 20
        x, y, z = np.exp(-0.5 * (away / 0.9) ** 2).T
        expected += 6 / (2 * np.pi * 0.81) ** 1.5 * np.einsum("i,j,k->ijk", x, y, z)
    frame = to_frame(density, "box")
    assert np.abs(frame - expected).sum() / expected.sum() < 1e-4


def test_box_of_a_sliver_falls_back_to_its_own_grid():
    sliver = np.array([[4.0, 0, 0], [300, 4, 0], [0, 300, 4]])
    density = ChargeDensity(np.random.default_rng(0).uniform(1, 2, (8, 9, 10)), sliver, ("H",), np.zeros((1, 3)))
    assert to_frame(density, "box")[0, 0, 0] == pytest.approx(density.values[0, 0, 0], rel=1e-6)


def test_box_sees_no_order_of_axes():
    # Cartesian directions stay: only the names of the lattice vectors change.
    density = skewed((18, 20, 24))
    frame = to_frame(density, "box")
    np.testing.assert_allclose(to_frame(permuted(density, (2, 0, 1)), "box"), frame, atol=1e-3)


def test_box_is_the_analytic_wave():
    edge = 4.0
    wave = 1 + 0.5 * np.cos(2 * np.pi * np.arange(16) / 16)
    values = np.broadcast_to(wave[:, None, None], (16, 16, 16)).copy()
    frame = to_frame(ChargeDensity(values, edge * np.eye(3), ("H",), np.zeros((1, 3))), "box")
    expected = 1 + 0.5 * np.cos(2 * np.pi * np.arange(128) * BOX_SPACING / edge)
    np.testing.assert_allclose(frame, np.broadcast_to(expected[:, None, None], FRAME_SHAPE), atol=2e-4)


def test_box_begins_at_the_origin_however_the_crystal_lies():
    density = skewed((18, 20, 24))
    turned = with_lattice(density, density.lattice @ rotation())
    for each in (density, turned):
        assert to_frame(each, "box")[0, 0, 0] == pytest.approx(density.values[0, 0, 0], rel=1e-4)
