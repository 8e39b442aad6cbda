"""Between densities and networks: show a crystal to an autoencoder, judge what comes back.

On a CPU crystals go through one at a time: batching 128^3 volumes gains nothing there, and a crystal's latent then
does not depend on its neighbours in a batch. On a GPU they go in batches.
"""

from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.frames import FrameKind, to_frame
from rhoray.models.autoencoder import LATENT_SHAPE
from rhoray.models.encoder_files import TrainedAutoencoder
from rhoray.models.losses import density_error

GPU_BATCH = 16


def frames_tensor(densities: Sequence[ChargeDensity], kind: str) -> Float[Tensor, "b 1 128 128 128"]:
    """Return the frames of densities as one tensor on the CPU, e/A3."""
    frames = [to_frame(density, cast(FrameKind, kind)) for density in densities]
    return torch.from_numpy(np.stack(frames))[:, None]


def _in_batches(trained: TrainedAutoencoder, densities: Sequence[ChargeDensity]) -> Iterator[Tensor]:
    device = next(trained.model.parameters()).device
    size = GPU_BATCH if device.type == "cuda" else 1
    for start in range(0, len(densities), size):
        yield frames_tensor(densities[start : start + size], trained.frame).to(device)


@torch.inference_mode()
def encode_densities(
    trained: TrainedAutoencoder, densities: Sequence[ChargeDensity]
) -> Float[np.ndarray, "n 16 16 16 16"]:
    """Return the latents of densities, float32."""
    latents = [trained.model.encode(frames).cpu().numpy() for frames in _in_batches(trained, densities)]
    return np.concatenate(latents) if latents else np.empty((0, *LATENT_SHAPE), np.float32)


@torch.inference_mode()
def encode_and_judge(
    trained: TrainedAutoencoder, densities: Sequence[ChargeDensity]
) -> tuple[Float[np.ndarray, "n 16 16 16 16"], list[float]]:
    """Return latents, and integral |d rho| / integral rho of each crystal decoded from its latent."""
    latents: list[np.ndarray] = [np.empty((0, *LATENT_SHAPE), np.float32)]
    errors: list[float] = []
    for frames in _in_batches(trained, densities):
        latent = trained.model.encode(frames)
        errors += density_error(trained.model.decode(latent), frames).tolist()
        latents.append(latent.cpu().numpy())
    return np.concatenate(latents), errors
