"""Features: the same crystal gives the same numbers, however it is described."""

import numpy as np
import pytest
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition

from rhoray.core.errors import RhoRayError
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.density import FINEST_SPACING, density_block
from rhoray.features.latent import LATENT_BLOCK
from rhoray.features.magpie import magpie_block, magpie_of
from rhoray.features.registry import BLOCK_NAMES, get_blocks
from tests.unit.builders import (
    gaussians,
    permuted,
    rolled,
    rotation,
    sample_densities,
    skewed,
    supercell,
    with_lattice,
)

LATENT = np.random.default_rng(0).normal(size=(16, 16, 16, 16))
# As fine as the block's own grid: then nothing is resampled, and equal means equal.
FINE = skewed((18, 24, 27))
SAME_CRYSTAL = {
    "origin": rolled(FINE, (5, 7, 11)),
    "axes": permuted(FINE, (2, 0, 1)),
    "axes mirrored": permuted(FINE, (1, 0, 2)),
    "rotation": with_lattice(FINE, FINE.lattice @ rotation()),
    "mirror image": with_lattice(FINE, FINE.lattice * [1, 1, -1]),
    "supercell": supercell(FINE, (2, 1, 1)),
    "larger supercell": supercell(FINE, (1, 2, 2)),
}


def compute(name, density, latent=LATENT):
    (block,) = get_blocks([name])
    return block(density, latent)


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_labels_are_unique_and_values_finite(name):
    (block,) = get_blocks([name])
    assert len(set(block.labels)) == len(block.labels)
    for density in (FINE, *sample_densities(3)):
        values = block(density, LATENT)
        assert values.shape == (len(block.labels),)
        assert np.isfinite(values).all()


@pytest.mark.parametrize("name", BLOCK_NAMES)
def test_twice_the_same(name):
    np.testing.assert_array_equal(compute(name, skewed()), compute(name, skewed()))


@pytest.mark.parametrize("same", SAME_CRYSTAL.values(), ids=SAME_CRYSTAL)
def test_the_density_block_knows_no_description(same):
    # A quantile of eight times the points falls between two others: 1e-3 is reachable, the rest is exact.
    rtol = 1e-6 if same.n_atoms == FINE.n_atoms else 1e-3
    np.testing.assert_allclose(compute("density", same), compute("density", FINE), rtol=rtol, atol=1e-9)


@pytest.mark.parametrize("steps", [(1, 0, 0), (3, 5, 7)])
@pytest.mark.parametrize("index", [0, 1, 2, 5])
def test_origin_shifts_of_stored_densities(index, steps):
    # Where the stored grid (15^3) is resampled to the block's own (18^3), the points fall elsewhere: most numbers
    # keep 1 %, extremes and averages over thin shells of density do not.
    density = sample_densities(6)[index]
    found, expected = compute("density", rolled(density, steps)), compute("density", density)
    assert np.median(np.abs(found - expected) / np.maximum(np.abs(expected), 0.1)) < 0.01


def test_the_density_block_of_a_uniform_gas():
    edge, points = 3.0, int(np.ceil(3.0 / FINEST_SPACING)) + 1
    gas = gaussians(edge * np.eye(3), ["Al"], [[0, 0, 0]], [3], [100.0], (points,) * 3)
    values = dict(zip(density_block().labels, compute("density", gas), strict=True))
    assert values["mean"] == pytest.approx(3 / 27)
    assert values["volume_per_atom"] == pytest.approx(27)
    assert values["q50"] == pytest.approx(3 / 27)
    assert values["weizsaecker"] == pytest.approx(0, abs=1e-12)
    assert values["reduced_mean"] == pytest.approx(0, abs=1e-9)
    assert values["moment_0.67"] == pytest.approx((3 / 27) ** (2 / 3))


def test_the_weizsaecker_term_of_a_wave():
    # rho = (1 + a cos x)^2 has |grad rho|^2 / rho = 4 |grad sqrt(rho)|^2, with mean 2 (a k)^2.
    edge, a = 3.0, 0.5
    x = 2 * np.pi * np.arange(18) / 18
    values = np.broadcast_to(((1 + a * np.cos(x)) ** 2)[:, None, None], (18, 18, 18)).copy()
    density = with_lattice(gaussians(edge * np.eye(3), ["H"], [[0, 0, 0]], [1], [1.0], (18,) * 3), edge * np.eye(3))
    density = type(density)(values, density.lattice, density.species, density.frac_coords)
    named = dict(zip(density_block().labels, compute("density", density), strict=True))
    assert named["weizsaecker"] == pytest.approx(2 * (a * 2 * np.pi / edge) ** 2, rel=1e-9)


@pytest.mark.parametrize("steps", [(1, 0, 0), (4, 9, 15)])
def test_the_latent_block_knows_no_origin(steps):
    found = compute("latent", FINE, np.roll(LATENT, steps, (1, 2, 3)))
    np.testing.assert_allclose(found, compute("latent", FINE), rtol=1e-9, atol=1e-12)


def test_the_latent_block_tells_channels_apart():
    assert not np.allclose(compute("latent", FINE, LATENT[::-1].copy()), compute("latent", FINE))


def test_the_latent_block_against_numpy():
    values = dict(zip(LATENT_BLOCK.labels, compute("latent", FINE), strict=True))
    assert values["mean_3"] == pytest.approx(LATENT[3].mean())
    assert values["std_15"] == pytest.approx(LATENT[15].std())
    assert values["q5_0"] == pytest.approx(np.quantile(LATENT[0], 0.05))
    assert values["corr_2_7"] == pytest.approx(np.corrcoef(LATENT[2].ravel(), LATENT[7].ravel())[0, 1])


def test_a_dead_channel_is_no_nan():
    latent = LATENT.copy()
    latent[4] = 0
    assert np.isfinite(compute("latent", FINE, latent)).all()


@pytest.mark.parametrize("formula", ["Fe2O3", "NaCl", "W", "Al(CoSi)2"])
def test_magpie_is_matminers(formula):
    expected = ElementProperty.from_preset("magpie").featurize(Composition(formula))
    np.testing.assert_array_equal(magpie_of(formula), expected)


def test_magpie_sees_only_the_formula():
    np.testing.assert_array_equal(compute("magpie", FINE), compute("magpie", SAME_CRYSTAL["larger supercell"]))
    assert len(magpie_block().labels) == 132


def test_cached_features_cannot_be_spoilt():
    with pytest.raises(ValueError, match="read-only"):
        magpie_of("NaCl")[0] = 7


def test_a_matrix_is_its_rows():
    blocks, densities = get_blocks(["magpie", "latent"]), [FINE, *sample_densities(2)]
    latents = list(np.random.default_rng(1).normal(size=(3, 16, 16, 16, 16)))
    matrix = feature_matrix(blocks, densities, latents)
    for i in range(3):
        np.testing.assert_array_equal(matrix[i : i + 1], feature_matrix(blocks, densities[i : i + 1], latents[i:][:1]))
    assert matrix.shape == (3, len(feature_labels(blocks)))
    assert feature_matrix(blocks, [], []).shape == (0, matrix.shape[1])


def test_columns_bear_their_blocks_name():
    labels = feature_labels(get_blocks(list(BLOCK_NAMES)))
    assert len(set(labels)) == len(labels)
    assert {label.split(".")[0] for label in labels} == set(BLOCK_NAMES)


@pytest.mark.parametrize("names", [[], ["magpie", "magpie"], ["soap"]])
def test_unknown_repeated_or_no_blocks(names):
    with pytest.raises(RhoRayError, match="latent, magpie, density"):
        get_blocks(names)
