"""Compounds nearby: the distance is the element mover's, nearest first, of one composition the nearest volume first."""

import numpy as np
import pandas as pd
import pytest
from pymatgen.core import Composition, Element
from scipy.stats import wasserstein_distance

from rhoray.inference.neighbours import KnownCompounds
from tests.unit.builders import salt, supercell


@pytest.fixture(scope="module")
def known():
    return KnownCompounds.of_sample()


def independent_distance(a, b):
    def places(formula):
        amounts = Composition(formula).fractional_composition.get_el_amt_dict()
        return [Element(e).mendeleev_no for e in amounts], list(amounts.values())

    (places_a, shares_a), (places_b, shares_b) = places(a), places(b)
    return wasserstein_distance(places_a, places_b, shares_a, shares_b)


def test_distance_is_the_one_that_scipy_finds(known):
    density = salt()
    formula = Composition(dict.fromkeys(set(density.species), 1)).reduced_formula
    found = known.nearest(density, 50)
    assert len(found) == 50
    for compound in found:
        assert compound.distance == pytest.approx(independent_distance(formula, compound.formula), abs=1e-9)
    assert (np.diff([c.distance for c in found]) > -1e-9).all()


def test_it_really_is_the_nearest(known):
    density = salt()
    formula = Composition(dict.fromkeys(set(density.species), 1)).reduced_formula
    everything = known.nearest(density, 300)
    assert len({c.material_id for c in everything}) == 300
    assert everything[0].distance == pytest.approx(min(independent_distance(formula, c.formula) for c in everything))


def table(*rows):
    columns = ["material_id", "formula", "volume_per_atom", "crystal_system", "space_group_number", "bulk_modulus"]
    return pd.DataFrame(rows, columns=columns)


def test_polymorphs_are_ordered_by_volume_and_missing_labels_left_out():
    density = salt()
    volume = density.volume / density.n_atoms
    formula = Composition(dict.fromkeys(set(density.species), 1)).reduced_formula
    rows = table(
        ("far", formula, 3 * volume, "cubic", 221, np.nan),
        ("near", formula, 1.1 * volume, "cubic", 225, 20.0),
    )
    near, far = KnownCompounds(rows, ["bulk_modulus"]).nearest(density, 2)
    assert (near.material_id, dict(near.values)) == ("near", {"bulk_modulus": 20.0})
    assert (far.material_id, dict(far.values)) == ("far", {})


def test_a_supercell_has_the_same_neighbours(known):
    density = salt()
    double = supercell(density, (2, 1, 1))
    assert known.nearest(double, 5) == known.nearest(density, 5)
