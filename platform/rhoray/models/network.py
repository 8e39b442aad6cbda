"""A few small dense networks that differ in their seeds; their mean is the prediction. Plain NumPy, no pickle.

Fitting is rhoray.train's work.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rhoray.core.errors import BundleError
from rhoray.models.scaling import Scaling

FILE = "network.safetensors"


@dataclass(frozen=True, slots=True, eq=False)
class Networks:
    """Dense networks of one shape, SiLU between layers.

    Attributes:
        scaling: of the features.
        weights: of each layer, (seeds, in, out); the last has one output.
        biases: of each layer, (seeds, out).
        mean: of the training targets.
        deviation: of the training targets.
    """

    scaling: Scaling
    weights: tuple[np.ndarray, ...]
    biases: tuple[np.ndarray, ...]
    mean: float
    deviation: float

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return the mean over seeds."""
        x = self.scaling.squashed(features).astype(np.float32)
        values = np.broadcast_to(x, (len(self.weights[0]), *x.shape))
        last = len(self.weights) - 1
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = values @ np.asarray(weight, np.float32) + np.asarray(bias, np.float32)[:, None, :]
            if layer < last:
                values = values / (1 + np.exp(-np.clip(values, -60, None)))
        return values[:, :, 0].astype(np.float64).mean(axis=0) * self.deviation + self.mean

    def to_files(self) -> dict[str, bytes]:
        """Return one file, its weights in half precision."""
        tensors = {
            "columns": self.scaling.columns.astype(np.int32),
            "mean": self.scaling.mean,
            "scale": self.scaling.scale,
            "target": np.array([self.mean, self.deviation]),
        }
        for layer, (weight, bias) in enumerate(zip(self.weights, self.biases, strict=True)):
            tensors[f"weight_{layer}"] = np.ascontiguousarray(weight, np.float16)
            tensors[f"bias_{layer}"] = np.ascontiguousarray(bias, np.float16)
        return {FILE: save(tensors)}


def load_networks(content: bytes) -> Networks:
    """Return the networks that `to_files` wrote.

    Raises:
        BundleError: the bytes are not such a model.
    """
    try:
        t = load(content)
        depth = sum(name.startswith("weight_") for name in t)
        scaling = Scaling(t["columns"], t["mean"], t["scale"])
        # To float32 once, not in each prediction.
        weights = tuple(t[f"weight_{i}"].astype(np.float32) for i in range(depth))
        biases = tuple(t[f"bias_{i}"].astype(np.float32) for i in range(depth))
        mean, deviation = t["target"].tolist()
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"not a network model: {error}") from error
    return Networks(scaling, weights, biases, mean, deviation)
