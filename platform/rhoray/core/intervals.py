"""90 % intervals by split conformal calibration on out-of-fold residuals.

Source: Lei et al., J. Am. Stat. Assoc. 113, 1094 (2018), doi:10.1080/01621459.2017.1307116.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

COVERAGE = 0.9
Values = Float[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Calibration:
    """Half-width of an interval.

    Attributes:
        width: half-width; in the target's unit, or of its natural logarithm when `log`.
        log: whether the interval is a factor around the value instead of a distance.
        count: residuals it rests on.
    """

    width: float
    log: bool
    count: int

    def interval(self, values: Values) -> tuple[Values, Values]:
        """Return lower and upper ends."""
        if self.log:
            return values * np.exp(-self.width), values * np.exp(self.width)
        return values - self.width, values + self.width


def calibrate(expected: Values, found: Values, *, log: bool) -> Calibration:
    """Return the half-width that covers 90 % of such residuals, with the finite-sample correction.

    Args:
        expected: labels.
        found: predictions of models that had not seen these labels.
        log: compare logarithms (for positive targets).
    """
    known = np.isfinite(expected) & np.isfinite(found)
    y, p = expected[known], found[known]
    residuals = np.sort(np.abs(np.log(y) - np.log(p) if log else y - p))
    n = len(residuals)
    rank = min(n, int(np.ceil((n + 1) * COVERAGE)))
    return Calibration(float(residuals[rank - 1]) if n else float("inf"), log, n)
