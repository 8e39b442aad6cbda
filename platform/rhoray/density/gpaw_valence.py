"""The valence charge density of a GPAW calculation, in the convention of all densities here.

GPAW's own `pseudo_densities` keeps the smooth core and takes its charge out again at the nuclei, which leaves a ripple
around every atom with core charge. Here the smooth core is taken out first, and the augmentation charge is that of the
valence electrons.
"""

from typing import Any

import numpy as np

from rhoray.density.charge_density import Grid
from rhoray.density.cube import BOHR

# The grid must be finer than the calculation's own along each axis, which symmetry may have made fine.
FINER = 6 / 7
MOST_TRIES = 8


def gpaw_valence_density(calculation: Any, spacing: float) -> Grid:  # noqa: ANN401 - GPAW may be absent
    """Return electrons per cubic Angstrom, summed over spins.

    Args:
        calculation: a `gpaw.dft.DFT` in one process, converged or as it begins.
        spacing: wanted distance between planes of grid points, Angstrom.

    Raises:
        ValueError: the calculation's own grid is much finer than that.
    """
    density, densities = calculation.density, calculation.densities()
    smooth = density.nt_sR.copy()
    smooth.data[: density.ndensities] -= density.nct_R.data
    grid = _finer_grid(smooth.desc, spacing / BOHR)
    total = smooth.interpolate(grid=grid)
    charges = density.calculate_compensation_charge_coefficients()
    for atom, delta in enumerate(density.delta0_a):
        charges[atom][0] -= delta  # the nucleus and its core
    shapes = densities.setups.create_compensation_charges(grid, densities.relpos_ac, density.D_asii.layout.atomdist)
    summed = grid.from_data(total.data[: density.ndensities].sum(axis=0))
    shapes.add_to(summed, charges)
    return np.asarray(summed.data) / BOHR**3


def _finer_grid(own: Any, spacing: float) -> Any:  # noqa: ANN401 - GPAW may be absent
    for power in range(MOST_TRIES):
        grid = own.uniform_grid_with_grid_spacing(spacing * FINER**power)
        if (grid.size_c > own.size_c).all():
            return grid
    raise ValueError(f"no grid near {spacing * BOHR:.3g} A is finer than the calculation's {own.size_c.tolist()}")
