"""The properties RhoRay predicts: column, unit, physical range, and which follow from which.

Only independent properties are learned. Young's modulus and the Debye temperature are closed forms of K and G, so
that no answer contradicts itself. Any other numeric column of a label table may be learned too, by its name.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import constants

GPA = 1e9
ANGSTROM = 1e-10
GRAM_PER_CM3 = 1e3

Values = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Target:
    """One property.

    Attributes:
        name: column in label tables and predictions.
        unit: unit of every value of that column.
        label: what a person reads.
        positive: True when the property can't be zero or less; such targets are learned on a log scale.
        lowest: smallest plausible label, in `unit`.
        highest: largest plausible label, in `unit`.
        derived: True when it is computed from other targets instead of learned.
    """

    name: str
    unit: str
    label: str
    positive: bool
    lowest: float
    highest: float
    derived: bool = False


BULK_MODULUS = Target("bulk_modulus", "GPa", "bulk modulus", True, 0.01, 1000.0)
SHEAR_MODULUS = Target("shear_modulus", "GPa", "shear modulus", True, 0.01, 1000.0)
YOUNGS_MODULUS = Target("youngs_modulus", "GPa", "Young's modulus", True, 0.01, 2500.0, derived=True)
DEBYE_TEMPERATURE = Target("debye_temperature", "K", "Debye temperature", True, 1.0, 4000.0, derived=True)
FORMATION_ENERGY = Target("formation_energy_per_atom", "eV/atom", "formation energy", False, -10.0, 10.0)
COHESIVE_ENERGY = Target("cohesive_energy_per_atom", "eV/atom", "cohesive energy", False, -2.0, 20.0)

TARGETS = {
    target.name: target
    for target in (
        BULK_MODULUS,
        SHEAR_MODULUS,
        YOUNGS_MODULUS,
        DEBYE_TEMPERATURE,
        FORMATION_ENERGY,
        COHESIVE_ENERGY,
    )
}


def get_target(name: str, unit: str = "") -> Target:
    """Return the known target of that name, or a learned one of the caller's own.

    Args:
        name: column in label tables.
        unit: of a target of the caller's own; a known one has its own.

    Example:
        >>> get_target("bulk_modulus").unit
        'GPa'
        >>> get_target("band_gap", "eV").derived
        False
    """
    own = Target(name, unit, name.replace("_", " "), False, -np.inf, np.inf)
    return TARGETS.get(name, own)


def youngs_modulus(bulk: Values, shear: Values) -> Values:
    """Return Young's modulus in GPa of an isotropic polycrystal, 9KG/(3K+G).

    Args:
        bulk: bulk modulus K in GPa, (n,).
        shear: shear modulus G in GPa, (n,).

    Source: Landau and Lifshitz, Theory of Elasticity, eq. 5.9.
    """
    return 9 * bulk * shear / (3 * bulk + shear)


def debye_temperature(bulk: Values, shear: Values, mass_density: Values, volume_per_atom: Values) -> Values:
    """Return the Debye temperature in K from the average sound velocity.

    Args:
        bulk: bulk modulus in GPa, (n,).
        shear: shear modulus in GPa, (n,).
        mass_density: in g/cm3, (n,).
        volume_per_atom: in cubic Angstrom, (n,).

    Source: O. L. Anderson, J. Phys. Chem. Solids 24, 909 (1963), doi:10.1016/0022-3697(63)90067-2.
    """
    rho = mass_density * GRAM_PER_CM3
    transverse = np.sqrt(shear * GPA / rho)
    longitudinal = np.sqrt((bulk + 4 / 3 * shear) * GPA / rho)
    mean = ((2 / transverse**3 + 1 / longitudinal**3) / 3) ** (-1 / 3)
    atoms_per_m3 = 1 / (volume_per_atom * ANGSTROM**3)
    return constants.h / constants.k * (3 * atoms_per_m3 / (4 * np.pi)) ** (1 / 3) * mean


def with_derived(known: dict[str, Values], mass_density: Values, volume_per_atom: Values) -> dict[str, Values]:
    """Return `known` plus every derived target whose inputs are there.

    Args:
        known: target name to values (n,), in the target's unit; NaN where unknown.
        mass_density: in g/cm3, (n,).
        volume_per_atom: in cubic Angstrom, (n,).
    """
    out = dict(known)
    if {BULK_MODULUS.name, SHEAR_MODULUS.name} <= known.keys():
        bulk, shear = known[BULK_MODULUS.name], known[SHEAR_MODULUS.name]
        out[YOUNGS_MODULUS.name] = youngs_modulus(bulk, shear)
        out[DEBYE_TEMPERATURE.name] = debye_temperature(bulk, shear, mass_density, volume_per_atom)
    return out


def in_reading_order(names: Iterable[str]) -> list[str]:
    """Return target names as a person expects them: the known ones first, in the order above."""
    known = list(TARGETS)
    return sorted(names, key=lambda n: (known.index(n) if n in TARGETS else len(known), n))
