"""Promolecular densities: free atoms superposed on a crystal's sites. No DFT, a few milliseconds.

In reciprocal space each atom is its form factor times a phase; an inverse FFT gives the density on the cell's grid.
The convention is GPAW's own initial density: valence electrons, smooth part plus augmentation charge, and the smooth
parts together scaled so that the cell is neutral (a free atom's tail is cut off at 4.2 Angstrom).
"""

import itertools

import numpy as np
from jaxtyping import Complex, Float
from pymatgen.core import Structure
from scipy import constants, fft

from rhoray.core.errors import TooLarge
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.cube import BOHR
from rhoray.density.free_atoms import FreeAtoms, free_atoms
from rhoray.density.resample import wave_numbers
from rhoray.density.structure_checks import check_structure

# A plane-wave cutoff of 350 eV, and the distance between points at which its densities are written.
CUTOFF_EV = 350.0
SPACING = 0.14
# Longest distance between points that still holds a density of that cutoff, Angstrom.
COARSEST = np.pi * BOHR / np.sqrt(4 * CUTOFF_EV / constants.value("Hartree energy in eV"))
FFT_FACTORS = (2, 3, 5, 7)
# 64 MB as float64, the cell of some 1,500 atoms.
MOST_POINTS = 2**23
ATOMS_AT_ONCE = 64

Shape = tuple[int, int, int]
Waves = Float[np.ndarray, "na nb half"]
Spectrum = Complex[np.ndarray, "na nb half"]


def promolecular_density(structure: Structure, shape: Shape | None = None) -> ChargeDensity:
    """Return the superposition of free atoms at a crystal's sites.

    Args:
        structure: a crystal.
        shape: points along a, b, c; by default the native grid of a density at 350 eV.

    Raises:
        Impossible: an element without data, or a crystal that `check_structure` refuses.
        TooLarge: too many atoms or grid points.

    Example:
        >>> from pymatgen.core import Lattice
        >>> round(promolecular_density(Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0] * 3, [0.5] * 3])).n_electrons)
        16
    """
    check_structure(structure)
    lattice = np.array(structure.lattice.matrix, dtype=float)
    species = symbols_of(structure)
    sites = np.array(structure.frac_coords, dtype=float)
    table = free_atoms()
    rows = np.array(table.rows(species))
    shape = native_shape(lattice) if shape is None else shape
    waves = wave_numbers(lattice, shape)
    smooth, sharp = np.zeros(waves.shape, complex), np.zeros(waves.shape, complex)
    for row in np.unique(rows):
        factor = structure_factor(sites[rows == row], shape)
        smooth += factor * smooth_form_factor(table, int(row), waves)
        sharp += factor * (table.charge[row] * np.exp(-0.25 * (waves * table.width[row]) ** 2))
    spectrum = neutral_scale(table, rows) * smooth + sharp
    volume = abs(np.linalg.det(lattice))
    values = fft.irfftn(_without_nyquist(spectrum, shape), s=shape, norm="forward", workers=1) / volume
    return ChargeDensity(values, lattice, species, sites, "promolecular")


def symbols_of(structure: Structure) -> tuple[str, ...]:
    """Return each site's element, charges and isotopes aside."""
    symbols = (site.specie.symbol for site in structure)
    return tuple("H" if symbol in {"D", "T"} else symbol for symbol in symbols)


def native_shape(lattice: Float[np.ndarray, "3 3"]) -> Shape:
    """Return the grid on which a 350 eV density of this cell is written.

    Its planes of points lie 0.14 Angstrom apart, and along each axis it holds the density's whole sphere of plane
    waves; sizes have no factors but 2, 3, 5 and 7.

    Raises:
        TooLarge: more than MOST_POINTS points.
    """
    heights = 1 / np.linalg.norm(np.linalg.inv(lattice), axis=0)
    fine = np.floor(heights / SPACING + 0.5)
    coarse = np.ceil(np.linalg.norm(lattice, axis=1) / COARSEST)
    wanted = np.maximum(fine, coarse + 1)
    if np.prod(wanted) > MOST_POINTS:
        a, b, c = wanted.astype(int)
        raise TooLarge(f"the cell needs a grid of {a} x {b} x {c} points, expected at most {MOST_POINTS} in all")
    na, nb, nc = (_fft_size(int(n)) for n in wanted)
    return na, nb, nc


def _fft_size(least: int) -> int:
    return next(n for n in itertools.count(least) if _has_small_factors(n))


def _has_small_factors(n: int) -> bool:
    for factor in FFT_FACTORS:
        while n % factor == 0:
            n //= factor
    return n == 1


def _indices(shape: Shape) -> list[Float[np.ndarray, " n"]]:
    na, nb, nc = shape
    return [np.fft.fftfreq(na, 1 / na), np.fft.fftfreq(nb, 1 / nb), np.arange(nc // 2 + 1.0)]


def structure_factor(sites: Float[np.ndarray, "atoms 3"], shape: Shape) -> Spectrum:
    """Return the sum of exp(-i G r) over the sites, whose phases are products of one factor per axis.

    Args:
        sites: fractional coordinates.
        shape: points along a, b, c of the grid whose waves are wanted; of the last axis the first half.
    """
    a, b, c = (np.exp(-2j * np.pi * np.outer(x, i)) for x, i in zip(sites.T, _indices(shape), strict=True))
    total = np.zeros((shape[0], b.shape[1] * c.shape[1]), complex)
    for start in range(0, len(sites), ATOMS_AT_ONCE):
        some = slice(start, start + ATOMS_AT_ONCE)
        planes = (b[some, :, None] * c[some, None, :]).reshape(len(b[some]), -1)
        total += a[some].T @ planes
    return total.reshape(shape[0], b.shape[1], c.shape[1])


def smooth_form_factor(table: FreeAtoms, row: int, waves: Waves) -> Waves:
    """Return an element's smooth form factor in electrons; nothing beyond the table's last wave number.

    Args:
        table: of the free atoms.
        row: the element's.
        waves: |G|, 1/Angstrom.
    """
    position = waves / table.step
    interval = position.astype(np.int64)
    inside = interval < table.pieces.shape[1]
    interval = np.where(inside, interval, 0)
    x = (position - interval) * table.step
    cubic, square, slope, value = table.pieces[row].T
    found = ((cubic[interval] * x + square[interval]) * x + slope[interval]) * x + value[interval]
    return np.where(inside, found, 0.0)


def neutral_scale(table: FreeAtoms, rows: np.ndarray) -> float:
    """Return the factor of the smooth parts that makes a cell neutral, a little above 1.

    Args:
        table: of the free atoms.
        rows: each atom's, (atoms,).
    """
    return float((table.total[rows].sum() - table.charge[rows].sum()) / table.smooth[rows].sum())


def _without_nyquist(spectrum: Spectrum, shape: Shape) -> Spectrum:
    """Drop an even grid's Nyquist coefficients: with one of +n/2 and -n/2 only, a crystal would lose its symmetry."""
    kept = spectrum.copy()
    for axis, n in enumerate(shape):
        if n % 2 == 0:
            kept[(slice(None),) * axis + (n // 2,)] = 0
    return kept
