"""Inputs that no model should trust: noise, missing electrons, molecules in a box, elements never seen."""

import dataclasses
from collections.abc import Iterator

import numpy as np
from pymatgen.core import Lattice, Structure

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.promolecule import promolecular_density


def _corners(length: float) -> list[list[float]]:
    return [[length * x for x in signs] for signs in ((1, 1, 1), (-1, -1, 1), (-1, 1, -1), (1, -1, -1))]


def _axes(length: float) -> list[list[float]]:
    return (length * np.concatenate([np.eye(3), -np.eye(3)])).tolist()


# Angstrom; geometries to two digits are enough for what is foreign because of its vacuum.
MOLECULES: dict[str, tuple[list[str], list[list[float]]]] = {
    "H2": (["H", "H"], [[0, 0, 0], [0.74, 0, 0]]),
    "N2": (["N", "N"], [[0, 0, 0], [1.1, 0, 0]]),
    "H2O": (["O", "H", "H"], [[0, 0, 0], [0.96, 0, 0], [-0.24, 0.93, 0]]),
    "CO2": (["C", "O", "O"], [[0, 0, 0], [1.16, 0, 0], [-1.16, 0, 0]]),
    "CH4": (["C", *"HHHH"], [[0, 0, 0], *_corners(0.63)]),
    "NaCl": (["Na", "Cl"], [[0, 0, 0], [2.36, 0, 0]]),
    "SF6": (["S", *"FFFFFF"], [[0, 0, 0], *_axes(1.56)]),
}


def molecules(paddings: tuple[float, ...]) -> Iterator[ChargeDensity]:
    """Yield each molecule in cubic cells that leave so much around it on every side."""
    for species, sites in MOLECULES.values():
        x = np.array(sites, float)
        for padding in paddings:
            edge = float(np.ptp(x, axis=0).max()) + 2 * padding
            middle = x - x.mean(axis=0) + edge / 2
            structure = Structure(Lattice.cubic(edge), species, middle, coords_are_cartesian=True)
            yield dataclasses.replace(promolecular_density(structure), kind="dft")


def with_noise(density: ChargeDensity, share: float, rng: np.random.Generator) -> ChargeDensity:
    """Return the density with normal noise at each point, of `share` times the mean density."""
    noise = share * density.values.mean() * rng.normal(size=density.values.shape)
    return dataclasses.replace(density, values=density.values + noise)


def scaled_noise(density: ChargeDensity, share: float, rng: np.random.Generator) -> ChargeDensity:
    """Return the density with each point changed by `share` of itself."""
    return dataclasses.replace(density, values=density.values * (1 + share * rng.normal(size=density.values.shape)))


def pure_noise(density: ChargeDensity, rng: np.random.Generator) -> ChargeDensity:
    """Return uniform noise with the crystal's number of electrons."""
    values = rng.random(density.values.shape)
    return dataclasses.replace(density, values=values * (density.values.mean() / values.mean()))


def shuffled(density: ChargeDensity, rng: np.random.Generator) -> ChargeDensity:
    """Return the crystal's own values at random points."""
    return dataclasses.replace(density, values=rng.permutation(density.values.ravel()).reshape(density.values.shape))


def halved(density: ChargeDensity) -> ChargeDensity:
    """Return the density with half of its electrons everywhere."""
    return dataclasses.replace(density, values=0.5 * density.values)


def half_empty(density: ChargeDensity) -> ChargeDensity:
    """Return the density with one half of the cell emptied."""
    values = density.values.copy()
    values[: len(values) // 2] = 0
    return dataclasses.replace(density, values=values)


def other_crystal(density: ChargeDensity, other: ChargeDensity) -> ChargeDensity:
    """Return the density of one crystal under the atoms of another."""
    return dataclasses.replace(other, values=density.values * (density.volume / other.volume))


def with_element(density: ChargeDensity, symbol: str) -> ChargeDensity:
    """Return the crystal with its first element replaced, as a promolecular density."""
    structure: Structure = structure_of(density)
    structure.replace_species({density.species[0]: symbol})
    return promolecular_density(structure)
