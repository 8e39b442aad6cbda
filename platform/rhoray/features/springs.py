"""The moduli of a crystal whose bonds are springs, atoms free to relax: which lattices are stiff, which are floppy.

Source: Born and Huang, Dynamical Theory of Crystal Lattices (1954), sections 11 to 15: clamped-ion constants less what
the internal displacements give back.
"""

import numpy as np
from jaxtyping import Float

from rhoray.features.neighbours import Neighbours

VOIGT = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
# Mandel's weights of the shears: with them a rotation of the crystal is one of the six strains, and eigenvalues stay.
MANDEL = np.array([1, 1, 1, np.sqrt(2), np.sqrt(2), np.sqrt(2)])
# Least eigenvalue, relative to the trace: a floppy lattice shall be very soft, not infinitely.
SOFT = 1e-3
# Vibrations softer than this share of the mean are the crystal's own translations.
FREE = 1e-6
STIFFENING = 0.01
TINY = 1e-12


def spring_moduli(
    near: Neighbours, stiffness: Float[np.ndarray, " pairs"], count: int, volume: float
) -> dict[str, float]:
    """Return the logarithm of the springs' total stiffness, and those of moduli relative to it.

    Args:
        near: directed pairs.
        stiffness: of each pair, any unit.
        count: atoms in the cell.
        volume: of the cell, cubic Angstrom.
    """
    strain = MANDEL * np.stack([near.unit[:, a] * near.unit[:, b] for a, b in VOIGT], axis=1) * near.distance[:, None]
    clamped = 0.5 * (strain * stiffness[:, None]).T @ strain / volume
    relaxed = clamped - _given_back(near, stiffness, strain, count) / volume
    total = max(float(np.trace(clamped)), TINY)
    modes = np.maximum(np.linalg.eigvalsh((relaxed + relaxed.T) / 2), SOFT * total)
    bulk, shear, reuss = _averages(relaxed, total)
    ratios = {
        "relaxed": modes.sum(),
        "softest": modes[0],
        "second": modes[1:3].mean(),
        "bulk": bulk,
        "shear_voigt": shear,
        "shear_reuss": reuss,
        "clamped_softest": max(np.linalg.eigvalsh(clamped)[0], SOFT * total),
    }
    return {"clamped": float(np.log(total)), **{name: float(np.log(v / total)) for name, v in ratios.items()}}


def _given_back(near: Neighbours, stiffness: np.ndarray, strain: np.ndarray, count: int) -> Float[np.ndarray, "6 6"]:
    """Return what the atoms' own displacements take off the clamped constants, times the volume."""
    pulls = np.zeros((count, 3, 6))
    np.add.at(pulls, near.first, (stiffness[:, None] * near.unit)[:, :, None] * strain[:, None, :])
    outer = stiffness[:, None, None] * near.unit[:, :, None] * near.unit[:, None, :]
    force = np.zeros((count, count, 3, 3))
    np.add.at(force, (near.first, near.first), outer)
    np.add.at(force, (near.first, near.second), -outer)
    values, vectors = np.linalg.eigh(force.transpose(0, 2, 1, 3).reshape(3 * count, 3 * count))
    scale = max(float(values.mean()), TINY)
    inverse = np.where(values > FREE * scale, 1 / np.maximum(values, SOFT * scale), 0.0)
    projected = vectors.T @ pulls.reshape(3 * count, 6)
    return (projected * inverse[:, None]).T @ projected


def _averages(c: np.ndarray, total: float) -> tuple[float, float, float]:
    """Return Voigt's bulk and shear modulus, and Reuss's shear modulus of slightly stiffened springs."""
    bulk = c[:3, :3].sum() / 9
    shear = (c[0, 0] + c[1, 1] + c[2, 2] - c[0, 1] - c[0, 2] - c[1, 2]) / 15 + (c[3, 3] + c[4, 4] + c[5, 5]) / 10
    s = np.linalg.inv((c + c.T) / 2 + STIFFENING * total * np.eye(6))
    normal, mixed = s[0, 0] + s[1, 1] + s[2, 2], s[0, 1] + s[0, 2] + s[1, 2]
    reuss = 15 / (4 * (normal - mixed) + 6 * (s[3, 3] + s[4, 4] + s[5, 5]))
    least = SOFT * total
    return max(bulk, least), max(shear, least), max(reuss, least)
