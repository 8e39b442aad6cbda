"""What every model of a regressor can do: numbers out, files out. Trees, networks, kernels and ensembles of them.

Most look at features; a network on sites looks at the sites themselves, which no row of fixed length holds.
"""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from jaxtyping import Float
from numpy import ndarray

from rhoray.features.sites import Sites


@runtime_checkable
class Model(Protocol):
    """A fitted model, on the scale it was fitted to."""

    def predict(self, features: Float[ndarray, "n f"]) -> Float[ndarray, " n"]:
        """Return one number per row."""
        ...

    def to_files(self) -> dict[str, bytes]:
        """Return the model's files by name, no pickle among them."""
        ...


@runtime_checkable
class SiteModel(Protocol):
    """A fitted model that looks at a crystal's sites instead of features."""

    def predict_sites(self, crystals: Sequence[Sites]) -> Float[ndarray, " n"]:
        """Return one number per crystal."""
        ...

    def to_files(self) -> dict[str, bytes]:
        """Return the model's files by name, no pickle among them."""
        ...


def predicted_by(
    model: Model | SiteModel, features: Float[ndarray, "n f"], crystals: Sequence[Sites] | None
) -> Float[ndarray, " n"]:
    """Return what a model says of each crystal, whichever of the two it looks at.

    Args:
        model: of either kind.
        features: (n, f).
        crystals: (n,); None only if the model does not look at sites.
    """
    if isinstance(model, SiteModel):
        assert crystals is not None, "this model looks at sites"
        return model.predict_sites(crystals)
    return model.predict(features)
