"""Every pair of atoms nearer than a cutoff, across the cell's walls."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from pymatgen.core import Lattice, Structure

from rhoray.density.primitive import Cell


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """Directed pairs: each stands twice.

    Attributes:
        first: the site, (pairs,).
        second: its neighbour's site in the cell, (pairs,).
        distance: Angstrom, (pairs,).
        unit: direction from the site to the neighbour, (pairs, 3).
    """

    first: np.ndarray
    second: np.ndarray
    distance: Float[np.ndarray, " pairs"]
    unit: Float[np.ndarray, "pairs 3"]


def find_neighbours(cell: Cell, cutoff: float) -> Neighbours:
    """Return all pairs within `cutoff`."""
    structure = Structure(Lattice(cell.lattice), list(cell.species), cell.sites, to_unit_cell=True)
    first, second, images, distance = structure.get_neighbor_list(cutoff, exclude_self=True)
    sites = structure.frac_coords
    vectors = (sites[second] + images - sites[first]) @ cell.lattice
    return Neighbours(first, second, distance, vectors / np.maximum(distance, 1e-9)[:, None])
