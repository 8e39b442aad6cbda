"""The primitive cell of a crystal, and what its symmetry says; by spglib."""

import contextlib
import functools
import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
import spglib
from jaxtyping import Float
from pymatgen.core import Element

# As Materials Project does: structures of six digits and of four then have one space group.
PRECISION = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class Cell:
    """A lattice with its atoms.

    Attributes:
        lattice: lattice vectors as rows, Angstrom.
        species: element symbol of each atom.
        sites: fractional coordinates.
        number: space group, 0 where there is none to find.
        operations: of the point group, 1 where there is none to find.
        orbits: symmetry-inequivalent sites.
        inversion: whether the point group has an inversion.
        multiplicity: for each atom, how many atoms of the primitive cell are its equals.
    """

    lattice: Float[np.ndarray, "3 3"]
    species: tuple[str, ...]
    sites: Float[np.ndarray, "atoms 3"]
    number: int
    operations: int
    orbits: int
    inversion: bool
    multiplicity: np.ndarray

    @property
    def volume(self) -> float:
        """Cubic Angstrom."""
        return float(abs(np.linalg.det(self.lattice)))


def primitive_cell(
    lattice: Float[np.ndarray, "3 3"], species: tuple[str, ...], sites: Float[np.ndarray, "atoms 3"]
) -> Cell:
    """Return the primitive cell, its atoms where the input has them; the input itself where spglib finds none."""
    return _primitive(np.asarray(lattice, "<f8").tobytes(), species, np.asarray(sites, "<f8").tobytes())


# Several blocks ask for the same crystal in turn.
@functools.lru_cache(maxsize=64)
def _primitive(lattice_bytes: bytes, species: tuple[str, ...], sites_bytes: bytes) -> Cell:
    lattice = np.frombuffer(lattice_bytes).reshape(3, 3)
    sites = np.frombuffer(sites_bytes).reshape(-1, 3)
    numbers = [Element(s).Z for s in species]
    small: Any = None
    found: Any = None
    with warnings.catch_warnings(), contextlib.suppress(spglib.SpglibError):
        warnings.simplefilter("ignore")
        cell: Any = (lattice, sites, numbers)
        small = spglib.standardize_cell(cell, to_primitive=True, no_idealize=True, symprec=PRECISION)
        found = spglib.get_symmetry_dataset(small, symprec=PRECISION) if small is not None else None
    if found is None:
        n = len(species)
        return Cell(lattice, species, sites, 0, 1, n, False, np.ones(n))
    equal = np.asarray(found.equivalent_atoms)
    rotations = {r.tobytes(): r for r in np.asarray(found.rotations)}
    inversion = any((r == -np.eye(3)).all() for r in rotations.values())
    return Cell(
        np.asarray(small[0]),
        tuple(Element.from_Z(int(z)).symbol for z in small[2]),
        np.asarray(small[1]),
        int(found.number),
        len(rotations),
        len(set(equal.tolist())),
        bool(inversion),
        np.bincount(equal, minlength=len(equal))[equal].astype(float),
    )
