"""Promolecular densities: physics first, then the numbers of GPAW's own superposition, then refusals."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Element, Lattice, Structure

from rhoray.core.errors import Impossible, TooLarge
from rhoray.density.crystal import structure_of
from rhoray.density.free_atoms import FREE_ATOMS, STAND_INS, free_atoms
from rhoray.density.promolecule import MOST_POINTS, native_shape, promolecular_density
from rhoray.density.resample import fourier_resample
from rhoray.models.promolecule import promolecular_batch
from tests.unit.builders import rotation, sample_densities

GPAW = json.loads((Path(__file__).parent / "gpaw_superpositions.json").read_text())
TRICLINIC = Structure(
    [[3.1, 0.2, 0.1], [0.4, 3.9, -0.3], [-0.2, 0.5, 4.6]],
    ["Li", "O", "Fe"],
    [[0.02, 0.05, 0.11], [0.47, 0.56, 0.61], [0.21, 0.77, 0.34]],
)
ROCK_SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
CRYSTALS = pytest.mark.parametrize("structure", [TRICLINIC, ROCK_SALT], ids=["triclinic", "rock-salt"])
QUICK = settings(max_examples=25, deadline=None)


def misplaced(found, expected):
    """Return the integral of |found - expected| over that of expected."""
    return float(np.abs(found - expected).sum() / expected.sum())


@pytest.mark.parametrize("symbol", free_atoms().elements)
def test_every_atom_has_its_valence_electrons(symbol):
    density = promolecular_density(Structure(Lattice.cubic(5), [symbol], [[0.1, 0.2, 0.3]]))
    expected = free_atoms().total[free_atoms().rows([symbol])[0]]
    assert density.n_electrons == pytest.approx(expected, abs=1e-9)


@CRYSTALS
def test_electrons_add_up(structure):
    table = free_atoms()
    expected = table.total[table.rows(str(site.specie) for site in structure)].sum()
    assert promolecular_density(structure).n_electrons == pytest.approx(expected, abs=1e-9)


@CRYSTALS
def test_it_is_promolecular_and_keeps_the_crystal(structure):
    density = promolecular_density(structure)
    assert density.kind == "promolecular"
    assert structure_of(density) == structure


def test_density_is_highest_at_the_atoms_and_falls_off():
    density = promolecular_density(Structure(Lattice.cubic(8), ["He"], [[0, 0, 0]]))
    line = density.values[: density.values.shape[0] // 2, 0, 0]
    assert np.argmax(density.values) == 0
    assert (np.diff(line) < 1e-3).all()


def test_an_atom_alone_is_a_sphere():
    density = promolecular_density(Structure(Lattice.cubic(9), ["Fe"], [[0, 0, 0]]), (64, 64, 64))
    far = density.values[16, 0, 0], density.values[0, 16, 0], density.values[0, 0, 16]
    np.testing.assert_allclose(far, far[0], rtol=1e-12)
    assert density.values.min() > -1e-4


@CRYSTALS
def test_moving_the_crystal_by_a_grid_step_rolls_the_density(structure):
    density = promolecular_density(structure)
    shift = np.array([1, -2, 3]) / density.values.shape
    moved = promolecular_density(Structure(structure.lattice, structure.species, structure.frac_coords + shift))
    np.testing.assert_allclose(moved.values, np.roll(density.values, (1, -2, 3), (0, 1, 2)), atol=1e-10)


@QUICK
@given(shift=st.tuples(*[st.floats(-1, 1)] * 3))
def test_moving_the_crystal_anywhere_keeps_its_spectrum(shift):
    here = promolecular_density(TRICLINIC)
    there = promolecular_density(Structure(TRICLINIC.lattice, TRICLINIC.species, TRICLINIC.frac_coords + shift))
    np.testing.assert_allclose(np.abs(np.fft.rfftn(there.values)), np.abs(np.fft.rfftn(here.values)), atol=1e-7)


def test_a_supercell_holds_the_same_density_again():
    cell = promolecular_density(TRICLINIC, (20, 24, 30))
    large = promolecular_density(TRICLINIC * (2, 1, 3), (40, 24, 90))
    np.testing.assert_allclose(large.values, np.tile(cell.values, (2, 1, 3)), atol=2e-3)
    assert misplaced(large.values, np.tile(cell.values, (2, 1, 3))) < 1e-4


def test_turning_the_crystal_changes_nothing():
    turned = Structure(TRICLINIC.lattice.matrix @ rotation(3), TRICLINIC.species, TRICLINIC.frac_coords)
    np.testing.assert_allclose(promolecular_density(turned).values, promolecular_density(TRICLINIC).values, atol=1e-9)


def test_the_order_of_atoms_does_not_matter():
    turned = Structure.from_sites(list(TRICLINIC)[::-1])
    np.testing.assert_allclose(promolecular_density(turned).values, promolecular_density(TRICLINIC).values, atol=1e-12)


def test_mirror_planes_survive_on_even_grids():
    values = promolecular_density(ROCK_SALT, (40, 40, 40)).values
    np.testing.assert_allclose(values, np.roll(values[::-1], 1, 0), atol=1e-10)
    np.testing.assert_allclose(values, values.transpose(1, 2, 0), atol=1e-10)


def test_a_finer_grid_holds_the_same_density():
    coarse, fine = promolecular_density(ROCK_SALT), promolecular_density(ROCK_SALT, (80, 80, 80))
    assert misplaced(fourier_resample(coarse.values, (80, 80, 80)), fine.values) < 0.003


@pytest.mark.parametrize("entry", GPAW, ids=lambda e: e["formula"])
def test_gpaw_superposes_the_same(entry):
    structure = Structure(entry["lattice"], entry["species"], entry["frac_coords"])
    found = promolecular_density(structure, tuple(entry["shape"]))
    assert found.n_electrons == pytest.approx(entry["n_electrons"], abs=1e-4)
    assert native_shape(structure.lattice.matrix) == tuple(entry["shape"])
    # Stored are GPAW's values along the cell's diagonal and its averages over planes normal to c.
    steps = range(min(entry["shape"]))
    scale = found.values.mean()
    assert np.abs(found.values[steps, steps, steps] - entry["diagonal"]).mean() < 0.002 * scale
    assert np.abs(found.values.mean(axis=(0, 1)) - entry["planes"]).mean() < 0.0005 * scale


def test_the_distance_from_pbe_is_what_gpaw_gives():
    found = []
    for pbe in sample_densities(40):
        density = promolecular_density(structure_of(pbe))
        found.append(misplaced(fourier_resample(pbe.values, density.values.shape), density.values))
    assert 0.035 < np.median(found) < 0.048
    assert max(found) < 0.25


@pytest.mark.shared
def test_native_grids_are_those_of_350_ev_densities(shared):
    same, count = 0, 0
    for path in sorted((shared / "data" / "densities").glob("*.npz"))[::10]:
        with np.load(path) as z:
            same += native_shape(z["lattice"]) == z["density"].shape
            count += 1
    assert same / count > 0.93


def test_a_batch_is_one_by_one():
    structures = [TRICLINIC, ROCK_SALT, *(structure_of(d) for d in sample_densities(12)), TRICLINIC]
    for found, structure in zip(promolecular_batch(structures), structures, strict=True):
        expected = promolecular_density(structure)
        np.testing.assert_allclose(found.values, expected.values, atol=1e-10)
        assert (found.species, found.kind) == (expected.species, "promolecular")


def test_a_batch_in_single_precision_is_close():
    structures = [structure_of(d) for d in sample_densities(6)]
    for found, structure in zip(promolecular_batch(structures, dtype=torch.float32), structures, strict=True):
        assert misplaced(found.values, promolecular_density(structure).values) < 1e-5


def test_an_empty_batch():
    assert promolecular_batch([]) == []


@pytest.mark.parametrize("make", [promolecular_density, lambda s: promolecular_batch([s])], ids=["one", "batch"])
def test_elements_without_data_are_named(make):
    with pytest.raises(Impossible, match="no free-atom density for Bk, Cf"):
        make(Structure(Lattice.cubic(6), ["Cf", "O", "Bk"], [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0]]))


@pytest.mark.parametrize(("element", "other"), STAND_INS.items())
def test_a_stand_in_has_the_other_elements_atom(element, other):
    cell = Lattice.cubic(5), [[0, 0, 0]]
    found, expected = (promolecular_density(Structure(cell[0], [s], cell[1])) for s in (element, other))
    np.testing.assert_array_equal(found.values, expected.values)
    assert found.species == (element,)
    assert element not in free_atoms().elements


def test_a_cell_too_large_for_memory():
    box = Structure(Lattice.cubic(30), ["He"] * 12, np.arange(36).reshape(12, 3) / 36)
    with pytest.raises(TooLarge, match=f"expected at most {MOST_POINTS}"):
        promolecular_density(box)


def test_deuterium_is_hydrogen():
    heavy, light = (Structure(Lattice.cubic(4), [s, "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]) for s in ("D", "H"))
    np.testing.assert_array_equal(promolecular_density(heavy).values, promolecular_density(light).values)


def test_charges_on_sites_do_not_matter():
    charged = ROCK_SALT.copy()
    charged.add_oxidation_state_by_element({"Na": 1, "Cl": -1})
    np.testing.assert_array_equal(promolecular_density(charged).values, promolecular_density(ROCK_SALT).values)


def test_the_table_says_where_it_comes_from():
    assert "gpaw-data" in free_atoms().about
    assert "GPL" in free_atoms().about
    assert FREE_ATOMS.stat().st_size < 500_000


def test_the_table_covers_what_is_stable():
    radioactive = {"Tc", "Po", "At", "Fr", "Ra"}
    wanted = {Element.from_Z(z).symbol for z in range(1, 87)} - radioactive
    assert wanted <= set(free_atoms().elements)
