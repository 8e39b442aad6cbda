"""How a density compares with free atoms at the same sites, and how much of its cell is empty.

Between the atoms every code and potential agrees with a superposition of free atoms to some ten percent; noise,
missing electrons or the header of another crystal don't. All comparisons are made where free atoms leave the least
charge, after smoothing that takes away what potentials do near the nuclei.
"""

from dataclasses import dataclass

import numpy as np
import scipy.fft

from rhoray.core.errors import Impossible, TooLarge
from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.crystal import structure_of
from rhoray.density.promolecule import promolecular_density
from rhoray.density.resample import Spectrum, spectrum_of, wave_numbers

# Widths of Gaussians, Angstrom: what is broader than the one is bonding, what is narrower than the other is noise.
SMOOTH = 0.4
SHARP = 0.1
# Share of the cell, by free atoms' density, that counts as between the atoms; and where noise shows best.
BETWEEN = 0.5
EMPTIEST = 0.25
# Below so many e/A3 a point is vacuum.
VACUUM = 0.005
# From the median of absolute values to a standard deviation, for a normal distribution.
NORMAL = 0.6745
FLOOR = 1e-6


@dataclass(frozen=True, slots=True)
class Likeness:
    """How far a density is from free atoms at its sites.

    Attributes:
        level: natural logarithm of charge between the atoms over that of free atoms.
        misplaced: charge there that free atoms have elsewhere, as a share.
        noise: standard deviation of what changes from point to point, as a share of the density there.
    """

    level: float
    misplaced: float
    noise: float


def vacuum_share(density: ChargeDensity) -> float:
    """Return the share of the cell's volume, 0 to 1, in which there is next to no charge."""
    spectrum = spectrum_of(density.values)
    return float((_back(spectrum * _gaussian(density, SMOOTH), density) < VACUUM).mean())


def likeness(density: ChargeDensity) -> Likeness | None:
    """Return how far a density is from free atoms; None for elements of which no free atom is known.

    Example:
        >>> from pymatgen.core import Lattice, Structure
        >>> likeness(promolecular_density(Structure(Lattice.cubic(2.87), ["Fe"], [[0, 0, 0]]))).level
        0.0
    """
    try:
        atoms = promolecular_density(structure_of(density), density.values.shape).values
    except (Impossible, TooLarge):
        return None
    expected, found = spectrum_of(atoms), spectrum_of(density.values)
    smooth = _gaussian(density, SMOOTH)
    free, given = _back(expected * smooth, density), _back(found * smooth, density)
    between, emptiest = free <= np.quantile(free, BETWEEN), free <= np.quantile(free, EMPTIEST)
    charge = max(float(free[between].mean()), FLOOR)
    sharp = _back((found - expected) * (1 - _gaussian(density, SHARP)), density)
    spread = float(np.median(np.abs(sharp[emptiest]))) / NORMAL
    return Likeness(
        float(np.log(max(float(given[between].mean()), FLOOR) / charge)),
        float(np.abs(given - free)[between].mean()) / charge,
        spread / max(float(free[emptiest].mean()), FLOOR),
    )


def _gaussian(density: ChargeDensity, width: float) -> np.ndarray:
    return np.exp(-0.5 * (wave_numbers(density.lattice, density.values.shape) * width) ** 2)


def _back(spectrum: Spectrum, density: ChargeDensity) -> Grid:
    return scipy.fft.irfftn(spectrum, s=density.values.shape, norm="forward", workers=1)
