"""What the deployments send one another, and the interface that the routes see of them."""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.inference.prediction import Prediction
from rhoray.inference.reconstruct import Shape


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file holds.

    Attributes:
        density: as the model sees it.
        seconds: how long reading it took.
        given: on its own grid, where that was asked for.
    """

    density: ChargeDensity
    seconds: float
    given: ChargeDensity | None = None


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which bundle a replica holds; latents of one bundle mean nothing to another."""

    name: str
    version: str


@dataclass(frozen=True, slots=True)
class Encoded:
    """A latent, (16, 16, 16, 16) float32, with the seconds that its batch took."""

    latent: np.ndarray
    model: ModelId
    seconds: float


@dataclass(frozen=True, slots=True)
class Decoded:
    """A density made of a latent, (na, nb, nc) float32, electrons per cubic Angstrom, and the seconds that it took."""

    values: np.ndarray
    seconds: float


@dataclass(frozen=True, slots=True)
class Answer:
    """A prediction with the seconds of both model calls.

    Attributes:
        prediction: the properties.
        model: the bundle that made it.
        encode_seconds: 0 where no latent was needed.
        predict_seconds: of the batch.
        needs_latent: whether this bundle's predictions look at latents.
    """

    prediction: Prediction
    model: ModelId
    encode_seconds: float
    predict_seconds: float
    needs_latent: bool = True


class PropertyModel(Protocol):
    """The model as the routes see it, wherever it runs."""

    async def parse(self, content: bytes, *, keep_given: bool = False) -> Parsed:
        """Return the density in a file, and on request the one on its own grid."""
        ...

    async def encode(self, density: ChargeDensity) -> Encoded:
        """Return the latent of one density."""
        ...

    async def predict(self, density: ChargeDensity, encoded: Encoded | None = None) -> Answer:
        """Return the properties of one density, whose latent may be there already."""
        ...

    async def decode(self, encoded: Encoded, *, seen: Shape, shape: Shape) -> Decoded:
        """Return the density that a latent stands for, on a grid of `shape`; `seen` is the grid that was encoded."""
        ...

    async def card(self) -> dict[str, Any]:
        """Return the bundle's model card."""
        ...

    async def identity(self) -> ModelId:
        """Return name and version once every part of the model is ready."""
        ...
