"""Between densities and networks: show a crystal to an autoencoder, judge what comes back.

On a CPU crystals go through one at a time: batching 128^3 volumes gains nothing there, and a crystal's latent then
does not depend on its neighbours in a batch. On a GPU they go in batches.

What travels to the device is a density's own small grid; the 128^3 frame of its cell is made there.
"""

import functools
from collections.abc import Iterator, Sequence
from typing import cast

import numpy as np
import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.frames import FRAME_SHAPE, FRAME_SIZE, FrameKind, to_frame
from rhoray.density.resample import fourier_resample
from rhoray.models.autoencoder import LATENT_SHAPE
from rhoray.models.encoder_files import TrainedAutoencoder
from rhoray.models.losses import density_error

GPU_BATCH = 16


def frames_tensor(
    densities: Sequence[ChargeDensity], kind: str, device: torch.device | str = "cpu"
) -> Float[Tensor, "b 1 128 128 128"]:
    """Return the frames of densities as one tensor on `device`, e/A3, float32: those of `density.frames.to_frame`."""
    if not densities:
        return torch.zeros(0, 1, *FRAME_SHAPE, device=device)
    if kind == "cell":
        return _cell_frames([density.values for density in densities], torch.device(device))[:, None]
    frames = [to_frame(density, cast(FrameKind, kind)) for density in densities]
    return torch.from_numpy(np.stack(frames))[:, None].to(device)


def _cell_frames(grids: list[np.ndarray], device: torch.device) -> Float[Tensor, "b 128 128 128"]:
    """Resample grids periodically, one by one on a CPU and all at once on a GPU.

    Fourier resampling is linear and acts on one axis at a time, so it is three products with small matrices: from
    27^3 points ten times faster than transforms of 128^3 points, and the batched form is the same three products.
    """
    if all(grid.shape == FRAME_SHAPE for grid in grids):  # a grid store's
        return torch.from_numpy(np.stack([grid.astype(np.float32) for grid in grids])).to(device)
    size = len(grids) if device.type == "cuda" else 1
    frames = [_resample_batch(grids[i : i + size], device) for i in range(0, len(grids), size)]
    return torch.cat(frames) if len(frames) > 1 else frames[0]


def _resample_batch(grids: list[np.ndarray], device: torch.device) -> Float[Tensor, "b 128 128 128"]:
    # Smaller grids of a batch are padded with zeros, which their matrices multiply with zeros.
    na, nb, nc = (max(grid.shape[axis] for grid in grids) for axis in range(3))
    padded = np.zeros((len(grids), na, nb, nc), np.float32)
    for out, grid in zip(padded, grids, strict=True):
        i, j, k = grid.shape
        out[:i, :j, :k] = grid
    values = torch.from_numpy(padded).to(device)
    along_a, along_b, along_c = (_resamplers(grids, axis).to(device) for axis in range(3))
    values = rearrange(along_a @ rearrange(values, "b i j k -> b i (j k)"), "b x (j k) -> b x j k", j=nb)
    return (along_b[:, None] @ values) @ rearrange(along_c, "b z k -> b 1 k z")


def _resamplers(grids: list[np.ndarray], axis: int) -> Float[Tensor, "b 128 n"]:
    widest = max(grid.shape[axis] for grid in grids)
    found = torch.zeros(len(grids), FRAME_SIZE, widest)
    for out, grid in zip(found, grids, strict=True):
        out[:, : grid.shape[axis]] = _resampler(grid.shape[axis])
    return found


@functools.lru_cache(maxsize=512)
def _resampler(points: int) -> Float[Tensor, "128 n"]:
    """Return the matrix that resamples one axis: its columns are what unit impulses become."""
    columns = [
        fourier_resample(impulse, (FRAME_SIZE, 1, 1), taper=True) for impulse in np.eye(points)[:, :, None, None]
    ]
    return torch.from_numpy(np.stack(columns, axis=-1)[:, 0, 0]).float()


def _in_batches(trained: TrainedAutoencoder, densities: Sequence[ChargeDensity]) -> Iterator[Tensor]:
    device = trained.model.device
    size = GPU_BATCH if device.type == "cuda" else 1
    for start in range(0, len(densities), size):
        yield frames_tensor(densities[start : start + size], trained.frame, device)


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
