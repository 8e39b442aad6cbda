"""What every model of a regressor can do: numbers out, files out. Trees, networks, kernels and ensembles of them."""

from typing import Protocol, runtime_checkable

from jaxtyping import Float
from numpy import ndarray


@runtime_checkable
class Model(Protocol):
    """A fitted model, on the scale it was fitted to."""

    def predict(self, features: Float[ndarray, "n f"]) -> Float[ndarray, " n"]:
        """Return one number per row."""
        ...

    def to_files(self) -> dict[str, bytes]:
        """Return the model's files by name, no pickle among them."""
        ...
