"""The value object of the whole project: a charge density on the periodic grid of a crystal's cell.

Axes: `na nb nc` are grid points along the lattice vectors a, b, c. Values are electrons per cubic Angstrom, never
rho x V. `species` and `frac_coords` say which atoms sit where.
"""

import hashlib
from dataclasses import dataclass
from typing import Literal

import numpy as np
from jaxtyping import Float

from rhoray.core.errors import Impossible

DensityKind = Literal["dft", "promolecular"]
Grid = Float[np.ndarray, "na nb nc"]

# An isolated molecule in a box may have cells this large; a lattice read in the wrong unit is larger.
LARGEST_AXIS = 400.0
SMALLEST_VOLUME_PER_ATOM = 1.0
# Volume over the cube of the longest axis; a 3 x 3 x 60 A slab has 2.5e-3.
FLATTEST_CELL = 1e-6


@dataclass(frozen=True, slots=True, eq=False)
class ChargeDensity:
    """A valence charge density.

    Attributes:
        values: electrons per cubic Angstrom, (na, nb, nc).
        lattice: lattice vectors as rows, Angstrom, (3, 3).
        species: element symbol of each atom.
        frac_coords: fractional coordinates of the atoms, (atoms, 3).
        kind: `dft` or `promolecular`.

    Raises:
        Impossible: NaN or infinite values, total charge of zero or less, a singular or absurd lattice, no atoms.
    """

    values: Grid
    lattice: Float[np.ndarray, "3 3"]
    species: tuple[str, ...]
    frac_coords: Float[np.ndarray, "atoms 3"]
    kind: DensityKind = "dft"

    def __post_init__(self) -> None:
        _check_cell(self.lattice, self.species, self.frac_coords)
        _check_values(self)

    @property
    def volume(self) -> float:
        """Cell volume in cubic Angstrom."""
        return float(abs(np.linalg.det(self.lattice)))

    @property
    def n_electrons(self) -> float:
        """Integral of the density over the cell."""
        return float(self.values.mean(dtype=np.float64)) * self.volume

    @property
    def n_atoms(self) -> int:
        """Number of atoms in the cell."""
        return len(self.species)

    @property
    def content_hash(self) -> str:
        """SHA-256 of everything that defines this density, the same wherever it was read from."""
        digest = hashlib.sha256()
        digest.update(np.asarray(self.values.shape, "<i4").tobytes())
        for array in (self.values, self.lattice, self.frac_coords):
            digest.update(np.ascontiguousarray(array, "<f8").tobytes())
        digest.update("|".join((self.kind, *self.species)).encode())
        return digest.hexdigest()


def _check_cell(lattice: np.ndarray, species: tuple[str, ...], frac_coords: np.ndarray) -> None:
    if not np.isfinite(lattice).all() or not np.isfinite(frac_coords).all():
        raise Impossible("the lattice or a coordinate is not a finite number; mend the header")
    if not species:
        raise Impossible("no atoms in the cell, expected at least one; mend the header")
    if len(species) != len(frac_coords):
        raise Impossible(f"{len(species)} species for {len(frac_coords)} coordinates; give one of each for every atom")
    longest = float(np.linalg.norm(lattice, axis=1).max())
    if longest > LARGEST_AXIS:
        raise Impossible(f"axis of {longest:.3g} A, expected at most {LARGEST_AXIS:.0f} A; is it in Angstrom?")
    volume = float(abs(np.linalg.det(lattice)))
    if volume <= FLATTEST_CELL * longest**3:
        raise Impossible(
            f"the lattice is singular: volume {volume:.3g} A^3, longest axis {longest:.3g} A; mend its three vectors"
        )
    if volume / len(species) < SMALLEST_VOLUME_PER_ATOM:
        raise Impossible(
            f"{volume / len(species):.3g} A^3 per atom, expected at least {SMALLEST_VOLUME_PER_ATOM} A^3; is the "
            "lattice in Angstrom, and are all atoms of this cell?"
        )


def _check_values(density: ChargeDensity) -> None:
    values = density.values
    if min(values.shape) < 2:
        raise Impossible(f"grid {values.shape}, expected at least 2 points along each axis; rerun on a finer grid")
    bad = int(values.size - np.isfinite(values).sum())
    if bad:
        raise Impossible(
            f"{bad} of {values.size} grid values are NaN or infinite, expected numbers; rerun and check that the "
            "calculation converged"
        )
    with np.errstate(over="ignore"):
        n_electrons = density.n_electrons
    if not 0 < n_electrons < np.inf:
        raise Impossible(
            f"the density integrates to {n_electrons:.4g} electrons, expected more than 0; give the total charge "
            "density, not a potential, a spin or a difference density"
        )
