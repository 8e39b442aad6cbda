"""From raw features to what a network or a kernel can work with: chosen columns, standardised, tails drawn in."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

FAR = 4.0
TAIL = 1.2


@dataclass(frozen=True, slots=True, eq=False)
class Scaling:
    """Fitted on training rows only.

    Attributes:
        columns: of the features that are used, (c,).
        mean: of each, (c,).
        scale: of each, (c,).
    """

    columns: Int[np.ndarray, " c"]
    mean: Float[np.ndarray, " c"]
    scale: Float[np.ndarray, " c"]

    def standard(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n c"]:
        """Return standardised columns; what is not a finite number counts as the mean."""
        found = (features[:, self.columns] - self.mean) / self.scale
        return np.where(np.isfinite(found), found, 0.0)

    def squashed(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, "n c"]:
        """Return standardised columns whose tails grow as a logarithm and end at FAR."""
        found = self.standard(features)
        return np.clip(np.sign(found) * np.log1p(np.abs(found)) * TAIL, -FAR, FAR)


def fit_scaling(features: Float[np.ndarray, "n f"]) -> Scaling:
    """Return the scaling of training rows; columns that never change are left out."""
    mean, scale = features.mean(axis=0), features.std(axis=0)
    columns = np.flatnonzero(scale > 1e-9 * np.maximum(np.abs(mean), 1.0))
    return Scaling(columns.astype(np.int32), mean[columns], scale[columns])
