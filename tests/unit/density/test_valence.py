"""Electron counts: no false alarm on real densities, a sentence or a refusal on what no potential explains."""

import numpy as np
import pytest

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.read import read_density
from rhoray.density.valence import check_electron_count, electron_count_warning, electron_range
from rhoray.density.vasp import write_chgcar
from tests.unit.builders import salt, sample_densities, skewed, supercell


def cell(species: tuple[str, ...], electrons: float, edge: float = 4.0) -> ChargeDensity:
    """Return a uniform density of so many electrons."""
    values = np.full((4, 4, 4), electrons / edge**3)
    sites = np.arange(len(species))[:, None] / len(species) * np.ones(3)
    return ChargeDensity(values, edge * np.eye(3), species, sites)


# Valence of VASP's PAW sets, from the smallest to the largest (_sv, _sv_GW), and of GPAW's.
SETS = {
    "H": (1, 1), "Li": (1, 3), "B": (3, 3), "O": (6, 6), "Na": (1, 9), "Mg": (2, 10), "Si": (4, 12), "K": (7, 9),
    "Ti": (4, 12), "Fe": (8, 16), "Cu": (11, 19), "Zn": (12, 20), "Ga": (3, 21), "Se": (6, 6), "Mo": (6, 14),
    "Pd": (10, 16), "In": (3, 13), "La": (9, 11), "Ce": (10, 12), "Eu": (8, 17), "Yb": (8, 24), "Lu": (9, 25),
    "Ta": (5, 13), "W": (6, 14), "Pt": (10, 18), "Pb": (4, 16), "Bi": (5, 15), "Th": (10, 12), "U": (14, 14),
}  # fmt: skip


@pytest.mark.parametrize("symbol", SETS)
def test_every_set_in_use_is_expected(symbol):
    for electrons in SETS[symbol]:
        assert electron_count_warning(cell((symbol,), electrons)) is None


def test_all_electrons_are_expected():
    assert electron_count_warning(cell(("W", "C"), 80)) is None
    assert electron_count_warning(cell(("W", "C"), 74)) is None


def test_between_valence_and_all_electrons_nothing_is():
    expected = "55 electrons, expected between 10 and 34 (or 80, all electrons) for W1C1; "
    assert electron_count_warning(cell(("W", "C"), 55)).startswith(expected)


@pytest.mark.parametrize("charge", [-3, -0.3, 0.25, 2])
def test_a_charged_cell_is_expected(charge):
    assert electron_count_warning(cell(("Na", "Cl") * 4, 32 + charge)) is None


def test_the_range_grows_with_the_cell():
    small, large = electron_range(salt()), electron_range(supercell(salt(), (1, 2, 1)))
    assert (small.fewest, small.most, small.everything) == (32, 96, 112)
    assert (large.fewest, large.most, large.everything) == (64, 192, 224)


def test_the_last_elements_of_the_table():
    assert electron_count_warning(cell(("Og",), 8)) is None


BOHR = 0.529177
CAUSES = {
    "rho instead of rho x V": lambda d: 1 / d.volume,
    "rho x V multiplied by V twice": lambda d: d.volume,
    "e/A^3 in a cube file": lambda _: 1 / BOHR**3,
    "electrons per voxel": lambda d: 1 / d.values.size,
    "a spin density": lambda _: 0.01,
    "of the same cell": lambda _: 1.6e4,
}


@pytest.mark.parametrize("cause", CAUSES)
def test_the_likely_cause_is_named_and_the_density_refused(cause):
    good = salt((12, 12, 12))
    bad = ChargeDensity(good.values * CAUSES[cause](good), good.lattice, good.species, good.frac_coords)
    assert cause in electron_count_warning(bad)
    with pytest.raises(Impossible, match="electrons, expected between 32 and 96"):
        check_electron_count(bad)


@pytest.mark.parametrize("electrons", [20, 100.5, 125])
def test_slightly_off_is_a_warning_and_no_refusal(electrons):
    density = cell(("Na", "Cl") * 4, electrons, 5.6)
    assert "expected between 32 and 96" in electron_count_warning(density)
    check_electron_count(density)


@pytest.mark.parametrize("density", [salt(), skewed()], ids=["salt", "skewed"])
def test_synthetic_densities_are_not_off(density):
    assert electron_count_warning(density) is None


def test_the_sample_is_not_off():
    assert [electron_count_warning(density) for density in sample_densities(60)] == [None] * 60


def test_readers_refuse_rho_in_place_of_rho_times_volume():
    good = salt((12, 12, 12))
    rho = ChargeDensity(good.values / good.volume, good.lattice, good.species, good.frac_coords)
    with pytest.raises(Impossible, match="is it rho instead of rho x V"):
        read_density(write_chgcar(rho).encode())


def test_an_element_that_is_none():
    with pytest.raises(Impossible, match="Xx"):
        check_electron_count(cell(("Xx",), 4))


def load(path, key):
    with np.load(path) as z:
        return ChargeDensity(z[key].astype(float), z["lattice"], tuple(z["species"].tolist()), z["frac_coords"])


@pytest.mark.shared
def test_no_false_alarm_on_real_densities(shared):
    paths = sorted((shared / "data" / "densities").glob("*.npz"))
    assert [p.stem for p in paths if electron_count_warning(load(p, "density"))] == []


@pytest.mark.shared
@pytest.mark.parametrize("dialect", ["ref", "alt", "ae"])
def test_no_false_alarm_on_other_set_ups(shared, dialect):
    paths = sorted((shared / "data" / "dialects").glob("*.npz"))
    assert [p.stem for p in paths if electron_count_warning(load(p, dialect))] == []


@pytest.mark.shared
def test_half_a_density_is_at_worst_a_warning(shared):
    for path in (shared / "data" / "dialects").glob("*.npz"):
        check_electron_count(load(path, "soft"))
