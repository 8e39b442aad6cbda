"""The cell: volume per atom and symmetry, of the primitive cell whatever cell is given. Lengths are Angstrom."""

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density
from rhoray.density.primitive import primitive_cell
from rhoray.features.block import Block, Latent

LABELS = (
    "volume_per_atom", "log_volume", "mass_density", "log_mass_density", "atoms", "space_group", "system", "operations",
    "orbits", "orbits_per_atom", "inversion", "kinds", "anisotropy", "log_skewness",
)  # fmt: skip
# First space group of each crystal system: triclinic to cubic.
SYSTEM_STARTS = (1, 3, 16, 75, 143, 168, 195)


def cell(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return volume, mass, symmetry and shape of the primitive cell.

    `system` counts from 1 (triclinic) to 7 (cubic), 0 where no symmetry is found; `log_skewness` is 0 for a cell of
    right angles and falls with every other one.
    """
    c = primitive_cell(density.lattice, density.species, density.frac_coords)
    atoms, mass = len(c.species), mass_density(density)
    lengths = np.linalg.norm(c.lattice, axis=1)
    system = np.searchsorted(SYSTEM_STARTS, c.number, "right")
    return np.array(
        [
            c.volume / atoms, np.log(c.volume / atoms), mass, np.log(mass), atoms, c.number, system, c.operations,
            c.orbits, c.orbits / atoms, c.inversion, len(set(c.species)), lengths.max() / lengths.min(),
            2 * np.log(c.volume / np.prod(lengths)),
        ]
    )  # fmt: skip


CELL_BLOCK = Block("cell", LABELS, cell)
