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

# Widths of Gaussians, Angstrom: what is broader than the one is bonding; noise is what is narrower than either other.
SMOOTH = 0.4
SHARP = (0.05, 0.1)
# Share of the cell, by free atoms' density, that counts as between the atoms.
BETWEEN = 0.5
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
        misplaced: charge there that free atoms have elsewhere, as a share; the level taken out.
        noise: standard deviation of what is random from point to point, as a share of the density there.
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
    between = free <= np.quantile(free, BETWEEN)
    charge, here = (max(float(values[between].mean()), FLOOR) for values in (free, given))
    shape = given[between] / here - free[between] / charge
    least = np.maximum(free[between], FLOOR)
    noise = min(_noise(found - expected, width, density, between, least) for width in SHARP)
    return Likeness(float(np.log(here / charge)), float(np.abs(shape).mean()), noise)


def _noise(change: Spectrum, width: float, density: ChargeDensity, where: np.ndarray, least: np.ndarray) -> float:
    """Return what white noise would have to be for as much to change within a width as does.

    White noise is the same by any width. Bonds reach little below 0.1 Angstrom, and the ripples that a cut spectrum
    leaves of a sharp core little above 0.05: each is small by one of the two.
    """
    passed = 1 - _gaussian(density, width)
    sharp = _back(change * passed, density)[where]
    gain = np.sqrt(np.mean(_whole(passed, density.values.shape[2]) ** 2))
    return float(np.median(np.abs(sharp) / least) / (NORMAL * gain))


def _whole(half: np.ndarray, count: int) -> np.ndarray:
    """Return a real field's filter over all waves, from the half that the transform keeps."""
    return np.concatenate([half, half[..., 1 : (count + 1) // 2]], axis=-1)


def _gaussian(density: ChargeDensity, width: float) -> np.ndarray:
    return np.exp(-0.5 * (wave_numbers(density.lattice, density.values.shape) * width) ** 2)


def _back(spectrum: Spectrum, density: ChargeDensity) -> Grid:
    return scipy.fft.irfftn(spectrum, s=density.values.shape, norm="forward", workers=1)
