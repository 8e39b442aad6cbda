"""Densities as computed outside RhoRay are kept: one <material_id>.npz for each, without pickle."""

from pathlib import Path

import numpy as np

from rhoray.density.charge_density import ChargeDensity


def read_npz(path: Path, name: str = "density") -> ChargeDensity:
    """Return a density of a file.

    Args:
        path: holds lattice (3, 3) in Angstrom, species, frac_coords (atoms, 3) and densities.
        name: of the array wanted, (na, nb, nc) in e/A3.
    """
    with np.load(path, allow_pickle=False) as z:
        values, lattice, sites = (z[key].astype(np.float64) for key in (name, "lattice", "frac_coords"))
        return ChargeDensity(values, lattice, tuple(z["species"].tolist()), sites)
