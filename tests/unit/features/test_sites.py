"""Sites of a crystal: kinds and neighbours that do not depend on how its cell was chosen."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from rhoray.density.charge_density import ChargeDensity
from rhoray.features.sites import REACH, sites_of


def density(structure):
    return ChargeDensity(
        np.ones((4, 4, 4)),
        structure.lattice.matrix,
        tuple(site.specie.symbol for site in structure),
        structure.frac_coords,
    )


def rocksalt():
    return Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def lopsided():
    """Return a crystal of four sites, three of them titanium, no two of them alike."""
    lattice = Lattice.from_parameters(3.9, 4.3, 6.1, 84, 97, 102)
    sites = [[0, 0, 0], [0.48, 0.53, 0.21], [0.11, 0.45, 0.62], [0.6, 0.1, 0.8]]
    return Structure(lattice, ["Ti", "Ti", "Ti", "O"], sites)


def test_equal_sites_stand_once():
    found = sites_of(density(rocksalt()))
    assert found.rows.tolist() == [10, 16]  # Na and Cl, hydrogen being 0
    assert found.share.tolist() == [0.5, 0.5]
    unlike = (found.first == 0) & (found.second == 1)
    assert found.count[unlike].tolist() == [6, 8]
    np.testing.assert_allclose(found.distance[unlike], np.array([1, 3**0.5]) * 2.82, rtol=1e-4)


def test_every_pair_within_reach_counts():
    structure = lopsided()
    found = sites_of(density(structure))
    pairs = len(structure.get_neighbor_list(REACH)[0])
    assert len(found.rows) == 4
    assert (found.count * found.share[found.first]).sum() * 4 == pytest.approx(pairs)


def test_sites_of_one_element_in_different_places_differ():
    lattice = Lattice.from_parameters(2.9, 2.9, 9.5, 90, 90, 120)  # double hexagonal: two surroundings
    places = [[0, 0, 0], [1 / 3, 2 / 3, 0.25], [0, 0, 0.5], [2 / 3, 1 / 3, 0.75]]
    found = sites_of(density(Structure(lattice, ["La"] * 4, places)))
    assert found.share.tolist() == [0.5, 0.5]


@pytest.mark.parametrize("make", [rocksalt, lopsided])
def test_another_cell_of_the_crystal_has_the_same_sites(make):
    moved = make()
    moved.make_supercell([[2, 0, 0], [1, 1, 0], [0, 0, 1]])
    moved.translate_sites(range(len(moved)), [0.13, 0.29, 0.41])
    sites, again = sites_of(density(make())), sites_of(density(moved))
    for name in ("rows", "share", "distance", "count"):
        np.testing.assert_allclose(np.sort(getattr(again, name)), np.sort(getattr(sites, name)), atol=1e-4)
    weights = sites.share @ np.abs(sites.surroundings), again.share @ np.abs(again.surroundings)
    np.testing.assert_allclose(*weights, atol=1e-4)
