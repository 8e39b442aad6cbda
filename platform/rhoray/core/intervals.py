"""90 % intervals by split conformal calibration on out-of-fold residuals, of constant or adaptive width.

An adaptive interval is so many times wider as the model's residuals are expected to be larger there (`spread`).
Source: Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), doi:10.1080/01621459.2017.1307116, sections 2.2 and 5.2.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rhoray.core.targets import BULK_MODULUS, DEBYE_TEMPERATURE, SHEAR_MODULUS, YOUNGS_MODULUS

COVERAGE = 0.9
# No crystal is trusted, or distrusted, this many times more than the median one.
WIDEST = 8.0
Values = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Half-width of an interval.

    Attributes:
        width: half-width; in the target's unit, or of its natural logarithm when `log`; in spreads when adaptive.
        log: whether the interval is a factor around the value instead of a distance.
        count: residuals it rests on.
        typical: median spread of the residuals it rests on; None when the width is constant.
    """

    width: float
    log: bool
    count: int
    typical: float | None = None

    def interval(self, values: Values, spread: Values | None = None) -> tuple[Values, Values]:
        """Return lower and upper ends.

        Args:
            values: predictions.
            spread: expected size of the residual of each, on the scale of the interval; typical where unknown.
        """
        half = self.width * np.ones(len(values))
        if self.typical is not None:
            known = np.full(len(values), self.typical) if spread is None else spread
            half = self.width * bounded(known, self.typical)
        if self.log:
            return values * np.exp(-half), values * np.exp(half)
        return values - half, values + half


def bounded(spread: Values, typical: float) -> Values:
    """Return spreads that are no more than WIDEST times larger or smaller than the typical one."""
    return np.clip(np.where(np.isfinite(spread), spread, WIDEST * typical), typical / WIDEST, WIDEST * typical)


def calibrate(expected: Values, found: Values, *, log: bool, spread: Values | None = None) -> Calibration:
    """Return the half-width that covers 90 % of such residuals, with the finite-sample correction.

    Args:
        expected: labels.
        found: predictions of models that had not seen these labels.
        log: compare logarithms (for positive targets).
        spread: expected size of each residual, by a model that had not seen it; constant width without.
    """
    known = np.isfinite(expected) & np.isfinite(found)
    if spread is not None:
        known &= np.isfinite(spread)
    y, p = expected[known], found[known]
    residuals = np.abs(np.log(y) - np.log(p) if log else y - p)
    typical = None
    if spread is not None and len(residuals):
        typical = float(np.median(spread[known]))
        residuals = residuals / bounded(spread[known], typical)
    n = len(residuals)
    rank = min(n, int(np.ceil((n + 1) * COVERAGE)))
    return Calibration(float(np.sort(residuals)[rank - 1]) if n else float("inf"), log, n, typical)


def with_derived_spreads(values: dict[str, Values], spreads: dict[str, Values]) -> dict[str, Values]:
    """Return `spreads` plus those of Young's modulus and the Debye temperature, from those of K and G.

    First-order propagation of independent errors of ln K and ln G; calibration makes up for what they share.

    Args:
        values: target name to predictions; K and G in GPa.
        spreads: target name to spreads, of the natural logarithm for K and G.
    """
    if not {BULK_MODULUS.name, SHEAR_MODULUS.name} <= spreads.keys() & values.keys():
        return dict(spreads)
    bulk, shear = values[BULK_MODULUS.name], values[SHEAR_MODULUS.name]
    of_bulk, of_shear = spreads[BULK_MODULUS.name], spreads[SHEAR_MODULUS.name]
    share = shear / (3 * bulk + shear)  # d ln E / d ln K of E = 9KG/(3K+G); the rest is d ln E / d ln G
    longitudinal = bulk + 4 / 3 * shear
    # theta ~ (2 G^(-3/2) + L^(-3/2))^(-1/3), L = K + 4G/3
    weight = longitudinal**-1.5 / (2 * shear**-1.5 + longitudinal**-1.5)
    debye_bulk = 0.5 * weight * bulk / longitudinal
    return {
        **spreads,
        YOUNGS_MODULUS.name: np.hypot(share * of_bulk, (1 - share) * of_shear),
        DEBYE_TEMPERATURE.name: np.hypot(debye_bulk * of_bulk, (0.5 - debye_bulk) * of_shear),
    }
