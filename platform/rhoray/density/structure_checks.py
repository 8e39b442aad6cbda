"""Which crystals can have a promolecular density: ordered, of a possible size, every atom at a place of its own."""

import numpy as np
from pymatgen.core import DummySpecies, Structure

from rhoray.core.errors import Impossible, TooLarge, Unreadable
from rhoray.density.charge_density import ChargeDensity

MOST_ATOMS = 2000
# One atom alone in a box of 17 A; more is a lattice in the wrong unit.
LARGEST_VOLUME_PER_ATOM = 5000.0
# The shortest bonds are H-H with 0.74 A and N-N with 1.10 A; X-ray puts hydrogen up to 0.2 A too near.
CLOSEST = 0.95
CLOSEST_HYDROGEN = 0.5
FARTHEST_CELL = 1000.0
HYDROGEN = frozenset({"H", "D", "T"})


def check_structure(structure: Structure) -> None:
    """Refuse a crystal that no superposition of atoms describes.

    Raises:
        Impossible: disordered, overlapping atoms, an absurd volume or lattice.
        TooLarge: more than MOST_ATOMS atoms.
        Unreadable: a site that is no element.
    """
    if len(structure) > MOST_ATOMS:
        raise TooLarge(f"{len(structure)} atoms in the cell, expected at most {MOST_ATOMS}; give a smaller cell")
    _check_order(structure)
    _check_size(structure)
    _check_distances(structure)


def _check_order(structure: Structure) -> None:
    disordered = [site for site in structure if not site.is_ordered]
    if disordered:
        first = disordered[0]
        raise Impossible(
            f"{len(disordered)} of {len(structure)} sites are disordered or partly occupied, first "
            f"{first.species_string} at {_place(first.frac_coords)}; give one ordered arrangement of the atoms"
        )
    if any(isinstance(site.specie, DummySpecies) for site in structure):
        raise Unreadable(f"unknown element in {structure.formula}; mend the symbols")


def _check_size(structure: Structure) -> None:
    # What makes a cell impossible is the value object's to say.
    uniform = np.ones((2, 2, 2))
    species = tuple(site.specie.symbol for site in structure)
    ChargeDensity(uniform, np.array(structure.lattice.matrix, dtype=float), species, np.array(structure.frac_coords))
    per_atom = structure.volume / len(structure)
    if per_atom > LARGEST_VOLUME_PER_ATOM:
        raise Impossible(
            f"{per_atom:.3g} A^3 per atom, expected at most {LARGEST_VOLUME_PER_ATOM:.0f} A^3; is the lattice in "
            "Angstrom, and are all atoms of this cell?"
        )


def _check_distances(structure: Structure) -> None:
    farthest = float(np.abs(structure.frac_coords).max())
    if farthest > FARTHEST_CELL:
        raise Impossible(f"a fractional coordinate of {farthest:.3g}, expected 0 to 1 or near; mend the coordinates")
    # Wrapped, because the search would visit every cell on the way to an atom that lies far outside.
    wrapped = Structure(structure.lattice, structure.species, structure.frac_coords, to_unit_cell=True)
    first, second, _, distances = wrapped.get_neighbor_list(CLOSEST)
    is_hydrogen = np.array([site.specie.symbol in HYDROGEN for site in structure])
    closest = np.where(is_hydrogen[first] | is_hydrogen[second], CLOSEST_HYDROGEN, CLOSEST)
    overlapping = np.flatnonzero(distances < closest)
    if len(overlapping):
        k = overlapping[np.argmin(distances[overlapping])]
        a, b = structure[int(first[k])], structure[int(second[k])]
        raise Impossible(
            f"atoms overlap: {a.specie.symbol} at {_place(a.frac_coords)} and {b.specie.symbol} at "
            f"{_place(b.frac_coords)} are {distances[k]:.2f} A apart, expected at least "
            f"{closest[k]} A; is one of them an alternative to the other?"
        )


def _place(frac_coords: np.ndarray) -> str:
    return "(" + ", ".join(f"{x:.3f}" for x in frac_coords) + ")"
