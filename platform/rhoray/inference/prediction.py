"""What a prediction says: values with intervals and units, whether the model knows such crystals, and why not."""

from dataclasses import dataclass


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
