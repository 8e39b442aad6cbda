"""Facts of a crystal that need a periodic table: formula, mass density, volume per atom, symmetry."""

import functools
import warnings
from dataclasses import dataclass

import numpy as np
from pymatgen.core import Composition, Lattice, Structure
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer, SymmetryUndeterminedError

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity

AMU_PER_A3_IN_G_PER_CM3 = 1.66053906660


def composition_of(density: ChargeDensity) -> Composition:
    """Return the cell's composition.

    Raises:
        Impossible: a species is no element.
    """
    return _composition(density.species)


@functools.lru_cache(maxsize=4096)
def _composition(species: tuple[str, ...]) -> Composition:
    counts: dict[str, int] = {}
    for symbol in species:
        counts[symbol] = counts.get(symbol, 0) + 1
    try:
        return Composition(counts, strict=True)
    except ValueError as error:
        raise Impossible(f"unknown element among {sorted(counts)}") from error


def reduced_formula(density: ChargeDensity) -> str:
    """Return the formula in lowest terms, such as `Fe2O3`."""
    return composition_of(density).reduced_formula


def mass_density(density: ChargeDensity) -> float:
    """Return g/cm3."""
    return float(composition_of(density).weight) * AMU_PER_A3_IN_G_PER_CM3 / density.volume


def volume_per_atom(density: ChargeDensity) -> float:
    """Return cubic Angstrom per atom."""
    return density.volume / density.n_atoms


def structure_of(density: ChargeDensity) -> Structure:
    """Return the crystal without its density."""
    return Structure(Lattice(density.lattice), list(density.species), np.asarray(density.frac_coords))


@dataclass(frozen=True, slots=True)
class Symmetry:
    """What spglib finds at 0.01 A.

    Attributes:
        crystal_system: `cubic`, `hexagonal`, …, or `unknown`.
        space_group_number: 1 to 230, 0 when unknown.
        prototype: what crystals of one structure type share: anonymous formula, Pearson symbol and space group, such
            as `AB_cF8_225` for rock salt.
    """

    crystal_system: str
    space_group_number: int
    prototype: str


def symmetry(density: ChargeDensity) -> Symmetry:
    """Return the symmetry of the crystal, `unknown` where there is none to find (two atoms at one place, say)."""
    anonymous = composition_of(density).anonymized_formula
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = SpacegroupAnalyzer(structure_of(density), symprec=0.01)
            number = int(found.get_space_group_number())
            system, pearson = found.get_crystal_system(), found.get_pearson_symbol()
        except (SymmetryUndeterminedError, KeyError):
            return Symmetry("unknown", 0, f"{anonymous}_unknown")
    return Symmetry(system, number, f"{anonymous}_{pearson}_{number}")
