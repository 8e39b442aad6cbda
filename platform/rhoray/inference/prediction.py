"""What a prediction says: values with intervals and units, whether the model knows such crystals, and why not."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rhoray.core.targets import get_target
from rhoray.density.charge_density import ChargeDensity, DensityKind
from rhoray.density.crystal import reduced_formula

UNKNOWN = "outside of what the model knows"
# Leading digits of an uncertainty up to which two are kept.
TWO_DIGITS_UP_TO = 3.54


@dataclass(frozen=True, slots=True)
class PropertyPrediction:
    """One property of one crystal.

    Attributes:
        target: column name, such as `bulk_modulus`.
        value: the prediction, in `unit`.
        lower: lower end of the 90 % interval.
        upper: upper end of the 90 % interval.
        unit: such as `GPa`.
    """

    target: str
    value: float
    lower: float
    upper: float
    unit: str

    def rounded(self) -> tuple[str, str, str]:
        """Return value, lower and upper to the digits that the interval justifies.

        Half of its width keeps two digits where they are at most 35, else one, and all three numbers end at the
        decimal place of the last. Source: Particle Data Group, Review of Particle Physics, Introduction, "Rounding".
        """
        places = _decimal_places((self.upper - self.lower) / 2)
        return _round(self.value, places), _round(self.lower, places), _round(self.upper, places)


def _decimal_places(half: float) -> int | None:
    """Return the decimal places that an uncertainty leaves, negative before the point, None where it says nothing."""
    if not 0 < half < math.inf:
        return None
    digits, exponent = f"{half:.2e}".split("e")
    return (1 if float(digits) <= TWO_DIGITS_UP_TO else 0) - int(exponent)


def _round(number: float, places: int | None) -> str:
    return f"{number:.4g}" if places is None else f"{round(number, places):.{max(places, 0)}f}"


@dataclass(frozen=True, slots=True)
class Prediction:
    """All properties of one crystal, in reading order.

    Attributes:
        properties: one entry per target of the bundle.
        in_domain: whether the model was trained on crystals like this one.
        reasons: why not; empty when in_domain.
    """

    properties: tuple[PropertyPrediction, ...]
    in_domain: bool
    reasons: tuple[str, ...]

    def __str__(self) -> str:
        unknown = [] if self.in_domain else [f"{UNKNOWN}: {'; '.join(self.reasons)}"]
        return "\n".join([*property_lines(self.properties), *unknown])


@dataclass(frozen=True, slots=True)
class Material:
    """The crystal of which something is said.

    Attributes:
        formula: reduced formula.
        n_atoms: atoms in the cell.
        volume: cell volume, cubic Angstrom.
        n_electrons: valence electrons in the cell.
        density_kind: `dft` or `promolecular`.
    """

    formula: str
    n_atoms: int
    volume: float
    n_electrons: float
    density_kind: DensityKind


def material_of(density: ChargeDensity) -> Material:
    """Return what an answer says of a crystal."""
    return Material(reduced_formula(density), density.n_atoms, density.volume, density.n_electrons, density.kind)


def property_lines(properties: Sequence[PropertyPrediction]) -> list[str]:
    """Return a table for a person: a heading, then property and unit, value, 90 % interval, rounded."""
    rows = [("", "value", "90 % interval")]
    for p in properties:
        value, lower, upper = p.rounded()
        rows.append((", ".join(filter(None, [get_target(p.target).label, p.unit])), value, f"[{lower}, {upper}]"))
    name, number, interval = (max(map(len, column)) for column in zip(*rows, strict=True))
    return [f"{a:<{name}}  {b:>{number}}  {c:<{interval}}".rstrip() for a, b, c in rows]


def table_columns(targets: Sequence[str]) -> list[str]:
    """Return the columns of a table of predictions."""
    names = [f"{target}{suffix}" for target in targets for suffix in ("", "_lower", "_upper")]
    about = ["in_domain", "reason", "density_kind", "source", "model", "model_version"]
    return ["material_id", "formula", *names, *about]


def columns_of(prediction: Prediction, material: Material, model: str, version: str) -> dict[str, Any]:
    """Return what a prediction puts into such a table, with all digits.

    Args:
        prediction: values in the units of their targets.
        material: the crystal it is of.
        model: name of the bundle that made it.
        version: its version.
    """
    out: dict[str, Any] = {"formula": material.formula, "density_kind": material.density_kind}
    out |= {"in_domain": prediction.in_domain, "reason": "; ".join(prediction.reasons)}
    for p in prediction.properties:
        out |= {p.target: p.value, f"{p.target}_lower": p.lower, f"{p.target}_upper": p.upper}
    return out | {"model": model, "model_version": version}
