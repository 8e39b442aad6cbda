"""What a prediction says: values with intervals and units, whether the model knows such crystals, and why not."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any


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


def table_columns(targets: Sequence[str]) -> list[str]:
    """Return the columns of a table of predictions."""
    names = [f"{target}{suffix}" for target in targets for suffix in ("", "_lower", "_upper")]
    return ["material_id", *names, "in_domain", "reason", "density_kind", "source"]


def columns_of(properties: Sequence[PropertyPrediction], reasons: Sequence[str], *, in_domain: bool) -> dict[str, Any]:
    """Return what a prediction puts into such a table."""
    out: dict[str, Any] = {"in_domain": in_domain, "reason": "; ".join(reasons)}
    for p in properties:
        out |= {p.target: p.value, f"{p.target}_lower": p.lower, f"{p.target}_upper": p.upper}
    return out
