"""Charges by equalised electronegativity; Rappe and Goddard, J. Phys. Chem. 95, 3358 (1991), with Gaussian charges.

Each atom holds a Gaussian charge as wide as its covalent radius; its self-energy is its hardness, so that the energy is
a sum over reciprocal vectors alone and always has one minimum.
"""

import numpy as np
from jaxtyping import Float

from rhoray.density.primitive import Cell

COULOMB = 14.399645  # eV Angstrom
NARROWEST = 0.4
SHARE = 0.6
HARDNESS = 2.0  # eV, above a Gaussian's own
CUT = 3.0  # in units of 1/NARROWEST


def equilibrated(
    cell: Cell, chi: Float[np.ndarray, " atoms"], radius: Float[np.ndarray, " atoms"]
) -> tuple[Float[np.ndarray, " atoms"], float]:
    """Return charges (e) and energy (eV per cell) at equal electronegativity.

    Args:
        cell: the crystal.
        chi: electronegativity of each free atom, eV.
        radius: of each atom, Angstrom.
    """
    width = np.maximum(SHARE * radius, NARROWEST)
    vectors = _waves(cell.lattice, CUT / float(width.min()))
    squared = (vectors**2).sum(axis=1)
    phase = np.exp(1j * (cell.sites @ cell.lattice) @ vectors.T)
    spread = phase * np.exp(-0.5 * np.outer(width**2, squared))
    matrix = 4 * np.pi * COULOMB / cell.volume * ((spread / squared) @ spread.conj().T).real
    n = len(width)
    matrix += HARDNESS * np.eye(n)
    system = np.ones((n + 1, n + 1))
    system[:n, :n] = matrix
    system[n, n] = 0
    charge = np.linalg.lstsq(system, np.append(-chi, 0.0), rcond=None)[0][:n]
    return charge, float(0.5 * chi @ charge)


def _waves(lattice: np.ndarray, longest: float) -> np.ndarray:
    reciprocal = 2 * np.pi * np.linalg.inv(lattice).T
    counts = np.ceil(longest * np.linalg.norm(lattice, axis=1) / (2 * np.pi)).astype(int)
    index = np.stack(np.meshgrid(*(np.arange(-n, n + 1) for n in counts), indexing="ij"), -1).reshape(-1, 3)
    vectors = index @ reciprocal
    length = np.linalg.norm(vectors, axis=1)
    return vectors[(length > 1e-9) & (length < longest)]
