"""A Gaussian process's mean: a Matern-5/2 kernel in scaled features plus a linear one. Plain NumPy, no pickle.

Source: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eqs. 2.25 and 4.17. Fitting is
rhoray.train's work.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rhoray.core.errors import BundleError
from rhoray.models.scaling import Scaling

FILE = "kernel.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Kernel:
    """A fitted kernel model.

    Attributes:
        scaling: of the features.
        near: scale of each column in the Matern kernel, 0 where it takes no part, (c,).
        amplitude: of the Matern kernel.
        points: training rows in the Matern kernel's scale, columns that take part only, (m, used).
        coefficients: of the points, (m,).
        gradient: of the linear part, (c,).
        mean: of the training targets.
        deviation: of the training targets.
    """

    scaling: Scaling
    near: Float[np.ndarray, " c"]
    amplitude: float
    points: np.ndarray
    coefficients: np.ndarray
    gradient: Float[np.ndarray, " c"]
    mean: float
    deviation: float

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return the posterior mean of each row."""
        here = (self.scaling.squashed(features) * self.near)[:, self.near != 0]
        points = np.asarray(self.points, np.float64)
        squared = (here**2).sum(1)[:, None] + np.einsum("ij,ij->i", points, points)[None] - 2 * here @ points.T
        r = np.sqrt(5 * np.maximum(squared, 0.0))
        covariance = self.amplitude * (1 + r + r**2 / 3) * np.exp(-r)
        values = (
            covariance @ np.asarray(self.coefficients, np.float64) + self.scaling.standard(features) @ self.gradient
        )
        return values * self.deviation + self.mean

    def to_files(self) -> dict[str, bytes]:
        """Return one file, its points in half precision."""
        return {
            FILE: save(
                {
                    "columns": self.scaling.columns.astype(np.int32),
                    "mean": self.scaling.mean,
                    "scale": self.scaling.scale,
                    "near": self.near,
                    "gradient": self.gradient,
                    "points": np.ascontiguousarray(self.points, np.float16),
                    "coefficients": np.ascontiguousarray(self.coefficients, np.float64),
                    "target": np.array([self.mean, self.deviation, self.amplitude]),
                }
            )
        }


def load_kernel(content: bytes) -> Kernel:
    """Return the kernel model that `to_files` wrote.

    Raises:
        BundleError: the bytes are not such a model.
    """
    try:
        t = load(content)
        mean, deviation, amplitude = t["target"].tolist()
        scaling = Scaling(t["columns"], t["mean"], t["scale"])
        points = t["points"].astype(np.float64)  # once, not in each prediction
        return Kernel(scaling, t["near"], amplitude, points, t["coefficients"], t["gradient"], mean, deviation)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"not a kernel model: {error}") from error
