"""Three views of one crystal: what each conserves, and what each forgets."""

import numpy as np
import pytest

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.frames import BOX_SPACING, FRAME_KINDS, FRAME_SHAPE, is_periodic, to_frame
from tests.unit.builders import permuted, rolled, rotation, salt, skewed, supercell, with_lattice


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


@pytest.mark.parametrize("counts", [(2, 1, 1), (2, 2, 2)])
def test_box_sees_no_choice_of_cell(counts):
    density = salt((24, 24, 24))
    frame = to_frame(density, "box")
    error = np.abs(to_frame(supercell(density, counts), "box") - frame).sum() / frame.sum()
    assert error < 1e-4


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


def test_only_the_cell_wraps_around():
    assert [is_periodic(kind) for kind in FRAME_KINDS] == [True, False, False]
