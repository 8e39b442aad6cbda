"""A block: one pure, named group of numbers that a regressor may see.

Blocks are functions of a density (and, for `latent`, of its latent) alone; nothing is fitted here.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rhoray.density.charge_density import ChargeDensity

Latent = Float[np.ndarray, "16 16 16 16"]


@dataclass(frozen=True, slots=True)
class Block:
    """A named group of features.

    Attributes:
        name: what `--features` calls it.
        labels: one per number, in order.
        compute: density and latent to numbers.
        needs_latent: whether `compute` looks at the latent.
    """

    name: str
    labels: tuple[str, ...]
    compute: Callable[[ChargeDensity, Latent], np.ndarray]
    needs_latent: bool = False

    def __call__(self, density: ChargeDensity, latent: Latent) -> np.ndarray:
        """Return the block's numbers as float64, checked against its labels."""
        values = np.asarray(self.compute(density, latent), dtype=np.float64)
        assert values.shape == (len(self.labels),), f"{self.name}: {values.shape}"
        return values


def feature_matrix(
    blocks: Sequence[Block], densities: Sequence[ChargeDensity], latents: Sequence[Latent]
) -> Float[np.ndarray, "n features"]:
    """Return one row per crystal, the blocks side by side."""
    rows = [
        np.concatenate([block(density, latent) for block in blocks])
        for density, latent in zip(densities, latents, strict=True)
    ]
    return np.array(rows).reshape(len(rows), sum(len(block.labels) for block in blocks))


def feature_labels(blocks: Sequence[Block]) -> list[str]:
    """Return the columns of `feature_matrix`, each prefixed with its block."""
    return [f"{block.name}.{label}" for block in blocks for label in block.labels]
