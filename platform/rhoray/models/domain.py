"""Does the model know such crystals? Elements it has seen, and the span of what it was trained on."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from rhoray.density.charge_density import ChargeDensity, DensityKind

# A crystal may leave the span of a few of its hundreds of numbers by chance.
MARGIN = 0.1
TOLERATED_SHARE = 0.05
# Numbers that a person can judge; each must lie within the span by itself.
NAMED = {
    "density.volume_per_atom": "volume per atom in A^3",
    "density.mass_density": "mass density in g/cm^3",
    "density.mean": "mean density in e/A^3",
    "density.q50": "median density in e/A^3",
}


@dataclass(frozen=True, slots=True)
class Domain:
    """What the training crystals spanned.

    Attributes:
        elements: symbols that occurred.
        labels: feature columns.
        lowest: smallest training value per column.
        highest: largest training value per column.
        kinds: of the training densities. A promolecular density lies some 4 % of its electrons away from the DFT one,
            far enough to nearly double the error of a bulk modulus.
    """

    elements: tuple[str, ...]
    labels: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    kinds: tuple[DensityKind, ...] = ("dft",)

    def reasons(self, density: ChargeDensity, features: Float[np.ndarray, " f"]) -> tuple[str, ...]:
        """Return why a crystal is foreign; empty when it is not."""
        foreign = sorted(set(density.species) - set(self.elements))
        found = [f"the model has seen no compound of {', '.join(foreign)}"] if foreign else []
        if density.kind not in self.kinds:
            found.append(f"this density is {density.kind}, the model was trained on {' and '.join(self.kinds)} ones")
        low, high = np.array(self.lowest), np.array(self.highest)
        margin = MARGIN * (high - low)
        outside = (features < low - margin) | (features > high + margin) | ~np.isfinite(features)
        for name, words in NAMED.items():
            if name in self.labels and outside[i := self.labels.index(name)]:
                found.append(f"{words} is {features[i]:.3g}, in training {low[i]:.3g} to {high[i]:.3g}")
        if outside.mean() > TOLERATED_SHARE:
            found.append(f"{outside.mean():.0%} of its features lie outside the training crystals' span")
        return tuple(found)

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers."""
        return asdict(self)


def domain_from_json(raw: dict[str, Any]) -> Domain:
    """Invert `Domain.to_json`."""
    elements, labels, lowest, highest = (tuple(raw[name]) for name in ("elements", "labels", "lowest", "highest"))
    # Bundles from before there were promolecular densities say nothing of kinds.
    return Domain(elements, labels, lowest, highest, tuple(raw.get("kinds", ("dft",))))


def fit_domain(
    elements: Sequence[str],
    labels: Sequence[str],
    features: Float[np.ndarray, "n f"],
    kinds: Sequence[DensityKind] = ("dft",),
) -> Domain:
    """Return the span of training crystals."""
    return Domain(
        tuple(sorted(set(elements))),
        tuple(labels),
        tuple(features.min(axis=0).tolist()),
        tuple(features.max(axis=0).tolist()),
        tuple(sorted(set(kinds))),
    )
