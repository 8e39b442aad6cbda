"""Free atoms as a yardstick: what a density is compared with, and what must not matter."""

import dataclasses

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from rhoray.density.crystal import structure_of
from rhoray.density.likeness import likeness, vacuum_share
from rhoray.density.promolecule import promolecular_density
from tests.unit.builders import gaussians, rolled, salt, sample_densities, supercell


@pytest.fixture(scope="module")
def crystal():
    return sample_densities(1)[0]


def test_free_atoms_are_like_free_atoms(crystal):
    found = likeness(promolecular_density(structure_of(crystal), crystal.values.shape))
    assert (found.level, found.misplaced, found.noise) == (0, 0, 0)


def test_level_is_the_logarithm_of_the_charge(crystal):
    halved = dataclasses.replace(crystal, values=0.5 * crystal.values)
    assert likeness(halved).level == pytest.approx(likeness(crystal).level - np.log(2))


def test_noise_is_measured_in_parts_of_the_density(crystal):
    rng = np.random.default_rng(0)
    free = promolecular_density(structure_of(crystal), (24, 24, 24))
    low = np.sort(free.values.ravel())[: free.values.size // 4].mean()
    noisy = dataclasses.replace(free, values=free.values + 0.1 * low * rng.normal(size=free.values.shape))
    assert 0.05 < likeness(noisy).noise < 0.12


def test_neither_origin_nor_cell_matters():
    density = salt()
    shifted = rolled(density, (3, 5, 7))
    both = supercell(density, (2, 1, 1))
    expected = dataclasses.astuple(likeness(density))
    np.testing.assert_allclose(dataclasses.astuple(likeness(shifted)), expected, rtol=0.02, atol=1e-3)
    np.testing.assert_allclose(dataclasses.astuple(likeness(both)), expected, rtol=0.02, atol=1e-3)


def test_an_element_without_a_free_atom():
    assert likeness(gaussians(4 * np.eye(3), ["Og"], np.zeros((1, 3)), [8], [0.6], (12, 12, 12))) is None


@pytest.mark.parametrize(("edge", "share"), [(2.5, 0.0), (12.0, 0.98)])
def test_vacuum_around_an_atom(edge, share):
    found = vacuum_share(promolecular_density(Structure(Lattice.cubic(edge), ["Ne"], [[0, 0, 0]])))
    assert found == pytest.approx(share, abs=0.02)
