"""The latent as a small volume, for networks that look at it in space: 16 channels on 8 x 8 x 8 positions."""

import numpy as np
from einops import reduce

from rhoray.density.charge_density import ChargeDensity
from rhoray.features.block import Block, Latent

CHANNELS, SIDE = 16, 8
VOLUME = "latent_volume"


def volume(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return means over 2 x 2 x 2 positions, flat: channel, then a, b, c."""
    pooled = reduce(np.asarray(latent, np.float64), "k (a i) (b j) (c l) -> k a b c", "mean", i=2, j=2, l=2)
    return pooled.ravel()


VOLUME_BLOCK = Block(VOLUME, tuple(str(i) for i in range(CHANNELS * SIDE**3)), volume, needs_latent=True)
