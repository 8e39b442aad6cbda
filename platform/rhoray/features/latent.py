"""What trees get from a 16 x 16 x 16 x 16 latent: numbers that no shift of the crystal's origin by a voxel changes.

Pooled over the 16^3 positions: mean, deviation and quantiles of each channel, and how channels vary together.
"""

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.features.block import Block, Latent

CHANNELS = 16
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
_UPPER = np.triu_indices(CHANNELS, k=1)


def pooled(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return 16 means, 16 deviations, 5 x 16 quantiles and 120 correlations."""
    flat = np.asarray(latent, dtype=np.float64).reshape(CHANNELS, -1)
    deviation = flat.std(axis=1)
    scaled = (flat - flat.mean(axis=1, keepdims=True)) / np.maximum(deviation, 1e-12)[:, None]
    correlation = scaled @ scaled.T / flat.shape[1]
    quantiles = np.quantile(flat, QUANTILES, axis=1)
    return np.concatenate([flat.mean(axis=1), deviation, quantiles.ravel(), correlation[_UPPER]])


def _labels() -> tuple[str, ...]:
    channels = range(CHANNELS)
    return (
        *(f"mean_{c}" for c in channels),
        *(f"std_{c}" for c in channels),
        *(f"q{100 * q:.0f}_{c}" for q in QUANTILES for c in channels),
        *(f"corr_{a}_{b}" for a, b in zip(*_UPPER, strict=True)),
    )


LATENT_BLOCK = Block("latent", _labels(), pooled, needs_latent=True)
