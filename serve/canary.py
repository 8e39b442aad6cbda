"""A tiny crystal by which a replica shows that it works, the whole way from a file to numbers."""

import functools

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.vasp import write_chgcar
from rhoray.inference.predictor import Predictor
from serve.parsing import parse
from serve.settings import MIB

LATENT_SHAPE = (16, 16, 16, 16)
CANARY_ELECTRONS = 8.0


def canary() -> ChargeDensity:
    """Return a small density that any sound bundle can predict: two Si atoms and eight electrons.

    A replica works through it before it is called ready, and whenever it had nothing else to prove itself by.
    """
    n = 12
    wave = np.cos(2 * np.pi * np.arange(n) / n)
    shape = 1.0 + 0.2 * (wave[:, None, None] + wave[None, :, None] + wave[None, None, :])
    lattice = 2.715 * (np.ones((3, 3)) - np.eye(3))
    volume = float(abs(np.linalg.det(lattice)))
    return ChargeDensity(
        values=shape * (CANARY_ELECTRONS / volume),
        lattice=lattice,
        species=("Si", "Si"),
        frac_coords=np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]]),
    )


@functools.cache
def canary_file() -> bytes:
    """Return the canary as a CHGCAR."""
    return write_chgcar(canary()).encode()


def parse_canary() -> None:
    """Read the canary from a CHGCAR; its charge must be what was written."""
    parsed = parse(canary_file(), limit=MIB)
    if abs(parsed.density.n_electrons - CANARY_ELECTRONS) > 1e-6:
        raise RuntimeError(f"the parser finds {parsed.density.n_electrons} electrons, expected {CANARY_ELECTRONS}")


def encode_canary(predictor: Predictor) -> np.ndarray:
    """Return the canary's latents, which must be finite numbers of the right shape."""
    latents = predictor.encode([canary()])
    if latents.shape != (1, *LATENT_SHAPE) or not np.isfinite(latents).all():
        raise RuntimeError(f"the encoder gives {latents.shape}, expected finite (1, 16, 16, 16, 16)")
    return latents


def predict_canary(predictor: Predictor) -> None:
    """Predict the canary; every value must be a finite number."""
    (prediction,) = predictor.predict([canary()], encode_canary(predictor))
    values = [value for p in prediction.properties for value in (p.value, p.lower, p.upper)]
    if not values or not np.isfinite(values).all():
        raise RuntimeError(f"the regressors give {values}, expected finite numbers")
