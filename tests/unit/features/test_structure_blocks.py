"""Cell, elements and bonds: one crystal has one set of numbers, and they mean what they say."""

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.primitive import primitive_cell
from rhoray.density.promolecule import promolecular_density
from rhoray.features.bonds import bonds_block
from rhoray.features.cell import CELL_BLOCK
from rhoray.features.composition import ELEMENTS_BLOCK
from rhoray.features.density import SETTLED
from rhoray.features.elements import RADII, element_table
from rhoray.features.equilibration import equilibrated
from rhoray.features.neighbours import find_neighbours
from rhoray.features.registry import get_blocks
from rhoray.features.springs import spring_moduli
from rhoray.features.superposed import SUPERPOSED_BLOCK
from rhoray.store.codec import to_compact
from tests.unit.builders import rotation

LATENT = np.zeros((16, 16, 16, 16))
NAMES = ("cell", "elements", "bonds")
RUTILE = Structure.from_spacegroup(
    "P4_2/mnm", Lattice.tetragonal(4.59, 2.96), ["Ti", "O"], [[0, 0, 0], [0.305, 0.305, 0]]
)
HEUSLER = Structure.from_spacegroup(
    "Fm-3m", Lattice.cubic(5.95), ["Mn", "Al", "Cu"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.25, 0.25, 0.25]]
)
SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])


CHANGES = ("supercell", "skewed cell", "origin", "primitive", "rotated", "axes", "order of atoms")


def bare(structure):
    species = tuple(site.specie.symbol for site in structure)
    return ChargeDensity(np.ones((4, 4, 4)), structure.lattice.matrix.copy(), species, structure.frac_coords.copy())


def compute(name, structure):
    (block,) = get_blocks([name])
    return dict(zip(block.labels, block(bare(structure), LATENT), strict=True))


def changed(structure, change):
    out = structure.copy()
    if change == "supercell":
        out.make_supercell([[2, 0, 0], [0, 1, 0], [0, 0, 2]])
    elif change == "skewed cell":
        out.make_supercell([[1, 1, 0], [0, 1, 0], [0, 1, 1]])
    elif change == "origin":
        out.translate_sites(range(len(out)), [0.13, 0.41, 0.77])
    elif change == "primitive":
        out = SpacegroupAnalyzer(out, symprec=0.01).get_primitive_standard_structure()
    elif change == "rotated":
        out = Structure(Lattice(out.lattice.matrix @ rotation()), out.species, out.frac_coords)
    elif change == "axes":
        out = Structure(Lattice(out.lattice.matrix[[2, 0, 1]]), out.species, out.frac_coords[:, [2, 0, 1]])
    elif change == "order of atoms":
        out = Structure.from_sites(list(out)[::-1])
    return out


@pytest.mark.parametrize(
    "change", ["supercell", "skewed cell", "origin", "primitive", "rotated", "axes", "order of atoms"]
)
@pytest.mark.parametrize("structure", [RUTILE, HEUSLER, SALT], ids=["rutile", "Heusler", "salt"])
@pytest.mark.parametrize("name", NAMES)
def test_one_crystal_one_set_of_numbers(name, structure, change):
    expected, found = compute(name, structure), compute(name, changed(structure, change))
    np.testing.assert_allclose(list(found.values()), list(expected.values()), rtol=1e-6, atol=1e-6)


def test_blocks_see_the_order_of_a_heusler_compound():
    inverse = Structure.from_spacegroup(
        "F-43m", Lattice.cubic(5.95), ["Cu", "Cu", "Mn", "Al"], [[0] * 3, [0.25] * 3, [0.5] * 3, [0.75] * 3]
    )
    a, b = compute("bonds", HEUSLER), compute("bonds", inverse)
    assert compute("elements", HEUSLER) == compute("elements", inverse)
    assert sum(abs(a[k] - b[k]) > 0.01 for k in a) > 50


def test_the_cell_of_salt():
    values = compute("cell", SALT)
    assert values["volume_per_atom"] == pytest.approx(5.64**3 / 8)
    assert (values["atoms"], values["space_group"], values["system"], values["operations"]) == (2, 225, 7, 48)
    assert (values["orbits"], values["inversion"], values["kinds"]) == (2, 1, 2)
    assert values["anisotropy"] == pytest.approx(1)


def test_a_crystal_without_symmetry_to_find_is_taken_as_it_is():
    lattice = np.diag([3.0, 4.0, 5.0])
    together = primitive_cell(lattice, ("Fe", "Fe"), np.array([[0.0, 0, 0], [0.001, 0, 0]]))
    assert (together.number, together.operations, len(together.species)) == (0, 1, 2)


def test_fractions_add_up_to_one():
    values = compute("elements", RUTILE)
    assert (values["Ti"], values["O"]) == (pytest.approx(1 / 3), pytest.approx(2 / 3))
    assert sum(values.values()) == pytest.approx(1)
    assert len(ELEMENTS_BLOCK.labels) == 96


def test_copper_has_twelve_neighbours():
    values = compute("bonds", Structure.from_spacegroup("Fm-3m", Lattice.cubic(3.615), ["Cu"], [[0, 0, 0]]))
    assert values["coordination_mean"] == pytest.approx(12, abs=1.5)
    assert values["distance_mean"] == pytest.approx(3.615 / np.sqrt(2), abs=0.08)
    # Steinhardt's Q4 and Q6 of a close-packed cube; the second shell takes a little away.
    assert values["order_4_mean"] == pytest.approx(0.191, abs=0.03)
    assert values["order_6_mean"] == pytest.approx(0.575, abs=0.05)
    assert values["order_2_mean"] == pytest.approx(0, abs=1e-6)


def test_charges_are_those_of_a_salt():
    cell = primitive_cell(SALT.lattice.matrix, tuple(s.specie.symbol for s in SALT), SALT.frac_coords)
    table = element_table()
    rows = table.rows(cell.species)
    charge, energy = equilibrated(cell, table.chi[rows], table.radius[rows])
    by_element = dict(zip(cell.species, charge, strict=True))
    assert charge.sum() == pytest.approx(0, abs=1e-9)
    assert 0.1 < by_element["Na"] < 2
    assert energy < 0


def test_equal_atoms_have_no_charge():
    iron = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0] * 3, [0.5] * 3])
    assert compute("bonds", iron)["charge_absolute"] == pytest.approx(0, abs=1e-9)


def test_springs_of_simple_cubic_resist_no_shear():
    cell = primitive_cell(3 * np.eye(3), ("Po",), np.zeros((1, 3)))
    near = find_neighbours(cell, 3.1)
    found = spring_moduli(near, np.ones(len(near.distance)), 1, cell.volume)
    # Nearest neighbours alone: C11 = k / a, C12 = C44 = 0.
    assert found["clamped"] == pytest.approx(np.log(3 * 1 / 3.0))
    assert found["bulk"] == pytest.approx(np.log((1 / 3.0) / 3 / 1.0))
    assert found["softest"] == pytest.approx(np.log(1e-3))


def test_springs_of_a_close_packed_crystal_obey_cauchy():
    cell = primitive_cell(4 * np.array([[0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]]), ("Cu",), np.zeros((1, 3)))
    near = find_neighbours(cell, 3.0)
    found = spring_moduli(near, np.ones(12), 1, cell.volume)
    # C11 = 2 C12 = 2 C44 = 2 k / a: K = 4/3, Voigt's G = 4/5 of k / a.
    assert len(near.distance) == 12
    assert found["bulk"] - found["shear_voigt"] == pytest.approx(np.log(4 / 3) - np.log(4 / 5))
    assert found["relaxed"] == pytest.approx(0)


def test_free_atoms_in_real_space_hold_their_electrons():
    # The radial table against the density on a grid: silicon alone in a box, at 2 A.
    box = promolecular_density(Structure(Lattice.cubic(9), ["Si"], [[0, 0, 0]]), (90, 90, 90))
    table = element_table()
    found = table.density_of(table.rows(["Si"]), np.array([2.0]))[0]
    assert found == pytest.approx(box.values[20, 0, 0], rel=0.05)
    assert RADII[0] == 0.3


def test_superposed_atoms_are_the_same_whatever_density_is_given():
    density = to_compact(promolecular_density(SALT))
    given = ChargeDensity(1.5 * density.values + 0.01, density.lattice, density.species, density.frac_coords, "dft")
    found, expected = (SUPERPOSED_BLOCK(d, LATENT) for d in (given, density))
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert SUPERPOSED_BLOCK.labels == SETTLED


def test_a_lonely_atom_has_finite_numbers():
    lonely = Structure(Lattice.cubic(12), ["Ar"], [[0, 0, 0]])
    assert np.isfinite(list(compute("bonds", lonely).values())).all()
    assert bonds_block().labels == tuple(compute("bonds", SALT))
    assert CELL_BLOCK.labels == tuple(compute("cell", SALT))
