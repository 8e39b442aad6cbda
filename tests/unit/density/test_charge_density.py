"""The value object refuses what no crystal is."""

import numpy as np
import pytest

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import (
    Symmetry,
    mass_density,
    reduced_formula,
    structure_of,
    symmetry,
    volume_per_atom,
)
from tests.unit.builders import rolled, rotation, salt, skewed, supercell, with_lattice


def build(values=None, lattice=None, species=("H",), sites=None, kind="dft"):
    return ChargeDensity(
        np.ones((4, 4, 4)) if values is None else values,
        3 * np.eye(3) if lattice is None else np.array(lattice, float),
        species,
        np.zeros((len(species), 3)) if sites is None else sites,
        kind,
    )


def spoiled(value):
    values = np.ones((4, 4, 4))
    values[1, 2, 3] = value
    return values


IMPOSSIBLE = {
    "nan": ({"values": spoiled(np.nan)}, "1 of 64 grid values are NaN"),
    "infinite": ({"values": spoiled(np.inf)}, "NaN or infinite"),
    "zero charge": ({"values": np.zeros((4, 4, 4))}, "integrates to 0 electrons"),
    "negative charge": ({"values": -np.ones((4, 4, 4))}, "expected more than 0"),
    "a plane of points": ({"values": np.ones((4, 4, 1))}, "at least 2 points"),
    "singular lattice": ({"lattice": [[1, 0, 0], [2, 0, 0], [0, 0, 3]]}, "singular"),
    "nearly singular lattice": ({"lattice": [[9, 0, 0], [0, 9, 0], [9, 9, 1e-7]]}, "singular"),
    "zero lattice": ({"lattice": np.zeros((3, 3))}, "singular"),
    "nan lattice": ({"lattice": np.diag([1, 1, np.nan])}, "not a finite number"),
    "infinite lattice": ({"lattice": np.diag([1, 1, np.inf])}, "not a finite number"),
    "absurd axis": ({"lattice": 500 * np.eye(3)}, "is it in Angstrom"),
    "atoms too close": ({"lattice": 0.9 * np.eye(3)}, "A.3 per atom"),
    "no atoms": ({"species": ()}, "no atoms"),
    "nan site": ({"sites": np.full((1, 3), np.nan)}, "not a finite number"),
    "species and sites differ": ({"species": ("H", "H"), "sites": np.zeros((1, 3))}, "2 species for 1"),
}


@pytest.mark.parametrize("name", IMPOSSIBLE)
def test_impossible(name):
    given, reason = IMPOSSIBLE[name]
    with pytest.raises(Impossible, match=reason):
        build(**given)


@pytest.mark.parametrize(
    "given",
    [
        pytest.param({"values": spoiled(-0.5)}, id="slightly-negative-somewhere"),
        pytest.param({"lattice": np.diag([3, 3, 60])}, id="slab"),
        pytest.param({"lattice": -3 * np.eye(3)}, id="left-handed"),
        pytest.param({"values": np.ones((2, 3, 5))}, id="coarse"),
    ],
)
def test_unusual_but_possible(given):
    assert build(**given).n_electrons > 0


@pytest.mark.parametrize("density", [salt(), skewed()], ids=["salt", "skewed"])
def test_the_integral_is_the_electron_count(density):
    assert density.n_electrons == pytest.approx({8: 32, 3: 15}[density.n_atoms], rel=1e-12)


def test_the_hash_is_of_the_content():
    assert skewed().content_hash == skewed().content_hash
    others = [salt(), rolled(skewed(), (1, 0, 0)), with_lattice(skewed(), 1.01 * skewed().lattice)]
    assert len({d.content_hash for d in (skewed(), *others)}) == 4


def test_the_hash_knows_no_memory_layout():
    values = np.random.default_rng(0).uniform(1, 2, (4, 5, 6))
    assert build(values).content_hash == build(np.asfortranarray(values)).content_hash


def test_the_kind_is_part_of_the_hash():
    assert build().content_hash != build(kind="promolecular").content_hash


def test_facts_of_rock_salt():
    density = salt(edge=5.64)
    assert reduced_formula(density) == "NaCl"
    assert mass_density(density) == pytest.approx(2.16, rel=0.01)
    assert volume_per_atom(density) == pytest.approx(5.64**3 / 8)
    assert symmetry(density) == Symmetry("cubic", 225, "AB_cF8_225")
    assert len(structure_of(density)) == 8


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(supercell(skewed(), (2, 1, 3)), id="supercell"),
        pytest.param(rolled(skewed(), (3, 1, 2)), id="origin"),
        pytest.param(with_lattice(skewed(), skewed().lattice @ rotation()), id="rotation"),
    ],
)
def test_facts_do_not_depend_on_the_description(other):
    for fact in (reduced_formula, symmetry):
        assert fact(other) == fact(skewed())
    for number in (mass_density, volume_per_atom):
        assert number(other) == pytest.approx(number(skewed()), rel=1e-12)


def test_an_element_that_is_none():
    with pytest.raises(Impossible, match="Xx"):
        reduced_formula(build(species=("Xx",)))
