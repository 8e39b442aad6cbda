"""How a density becomes bytes: little charge moves, none is lost."""

import numpy as np
import pytest

from rhoray.core.errors import Impossible
from rhoray.density.resample import fourier_resample
from rhoray.store.codec import BAND_TOLERANCE, SMALLEST_GRID, band_limit, decode_values, encode_values, to_compact
from tests.unit.builders import gaussians, salt, sample_densities, skewed, with_lattice

CRYSTALS = {
    "salt": salt((40, 40, 40)),
    "skewed": skewed((30, 32, 36)),
    "sharp": gaussians(4 * np.eye(3), ["Fe"], [[0.1, 0.2, 0.3]], [8], [0.25], (48, 48, 48)),
    **{f"sample-{i}": d for i, d in enumerate(sample_densities(4))},
}
each = pytest.mark.parametrize("density", CRYSTALS.values(), ids=CRYSTALS)


def moved_charge(found, density):
    back = fourier_resample(found.values, density.values.shape)
    return np.abs(back - density.values).sum() / density.values.sum()


@each
def test_compact_moves_less_than_a_thousandth_of_the_charge(density):
    assert moved_charge(to_compact(density), density) <= 1e-3


@each
def test_compact_keeps_every_electron(density):
    assert to_compact(density).n_electrons == pytest.approx(density.n_electrons, rel=1e-12)


@each
def test_compact_of_compact_is_nearly_the_same(density):
    once = to_compact(density)
    assert moved_charge(to_compact(once), once) <= 1e-3


@pytest.mark.parametrize("shape", [(20, 24, 30), (27, 25, 36)], ids=["even", "odd"])
def test_a_finer_grid_of_the_same_density_gives_the_same_bytes(shape):
    density = skewed(shape)
    limit = band_limit(density.values, density.lattice, tolerance=BAND_TOLERANCE)
    finer = fourier_resample(density.values, (60, 64, 72))
    assert band_limit(finer, density.lattice, tolerance=BAND_TOLERANCE) == limit
    np.testing.assert_allclose(fourier_resample(finer, limit), fourier_resample(density.values, limit), atol=1e-10)


def test_a_tighter_tolerance_never_takes_a_coarser_grid():
    density = CRYSTALS["sharp"]
    sizes = [band_limit(density.values, density.lattice, tolerance=t)[0] for t in (1e-1, 1e-2, 1e-3, 1e-4, 0.0)]
    assert sizes == sorted(sizes)
    assert sizes[0] < sizes[-1] == 48


def test_band_limit_bounds_what_a_cut_moves():
    density = CRYSTALS["sharp"]
    for tolerance in (1e-1, 1e-2, 1e-3):
        shape = band_limit(density.values, density.lattice, tolerance=tolerance)
        back = fourier_resample(fourier_resample(density.values, shape), density.values.shape)
        assert np.abs(back - density.values).sum() / density.values.sum() <= tolerance


def test_longer_axes_keep_more_points():
    density = salt((30, 30, 30))
    shape = band_limit(density.values, np.diag([4.0, 6.0, 8.0]), tolerance=1e-3)
    assert shape[0] <= shape[1] <= shape[2]
    assert min(shape) >= SMALLEST_GRID


@pytest.mark.parametrize("shape", [(4, 5, 6), (8, 8, 3)])
def test_a_tiny_grid_stays_as_it_is(shape):
    density = skewed(shape)
    assert band_limit(density.values, density.lattice, tolerance=0.0) == shape


def test_values_are_little_endian_float16_in_c_order():
    values = np.arange(24.0).reshape(2, 3, 4) + 1
    content = encode_values(np.asfortranarray(values))
    np.testing.assert_array_equal(np.frombuffer(content, "<f2").reshape(2, 3, 4), values)
    np.testing.assert_array_equal(decode_values(content, (2, 3, 4), values.mean()), values)


@pytest.mark.filterwarnings("error")
def test_what_float16_cannot_hold_is_refused():
    with pytest.raises(Impossible, match="is it rho x V"):
        encode_values(np.full((2, 2, 2), 7e4))


def test_the_lattice_travels_along():
    density = with_lattice(skewed(), 1.5 * skewed().lattice)
    np.testing.assert_array_equal(to_compact(density).lattice, density.lattice)
