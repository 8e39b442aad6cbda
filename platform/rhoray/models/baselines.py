"""What a learned autoencoder must beat: linear maps of a frame to 65,536 numbers and back.

- `fourier`: the 65,536 longest waves of the frame, lengths in index space; cosine waves where opposite faces do not
  touch.
- `fourier_lattice`: the same with true lengths, for those who have the lattice beside the numbers (periodic only).
- `block_pca`: the 16 strongest principal components of 8^3 patches, fitted on training frames.
"""

from collections.abc import Iterable
from functools import cache

import numpy as np
import scipy.fft
import torch
from einops import rearrange
from jaxtyping import Bool, Float
from torch import Tensor

from rhoray.models.autoencoder import (
    FRAME,
    LATENT_CHANNELS,
    PATCH_VALUES,
    Frames,
    from_patches,
    patch_components,
    to_patches,
)
from rhoray.models.losses import density_error, electron_error

NUMBERS = 16**4
Lattices = Float[Tensor, "b 3 3"]
Components = Float[Tensor, "components 512"]


def fourier_truncation(frames: Frames, lattices: Lattices | None = None) -> Frames:
    """Return what the 65,536 longest waves of periodic frames give.

    Args:
        frames: e/A3.
        lattices: lattice vectors as rows, Angstrom; without them all axes count as equal.
    """
    spectrum = torch.fft.rfftn(frames[:, 0], dim=(1, 2, 3))
    if lattices is None:
        kept = _longest(torch.eye(3, dtype=torch.float64))[None]
    else:
        kept = torch.stack([_longest(lattice.double().cpu()) for lattice in lattices])
    spectrum = spectrum * kept.to(spectrum.device)
    return torch.fft.irfftn(spectrum, s=(FRAME,) * 3, dim=(1, 2, 3))[:, None]


def _longest(lattice: Float[Tensor, "3 3"]) -> Bool[Tensor, "128 128 65"]:
    """Return which waves of a half spectrum are kept: each counts for two numbers, as its conjugate does not."""
    reciprocal = torch.linalg.inv(lattice)
    full, half = torch.fft.fftfreq(FRAME, 1 / FRAME).double(), torch.arange(FRAME // 2 + 1).double()
    grids = torch.stack(torch.meshgrid(full, full, half, indexing="ij"), dim=-1)
    squared = (grids @ reciprocal.T).square().sum(-1)
    numbers = torch.full_like(squared, 2.0)
    numbers[..., 0] = 1.0  # this plane holds a wave and its conjugate
    order = squared.flatten().argsort(stable=True)
    fits = numbers.flatten()[order].cumsum(0) <= NUMBERS
    kept = torch.zeros(squared.numel(), dtype=torch.bool)
    kept[order[fits]] = True
    return kept.reshape(squared.shape)


def cosine_truncation(frames: Frames) -> Frames:
    """Return what the 65,536 longest cosine waves of frames give, whose opposite faces do not touch."""
    spectrum = scipy.fft.dctn(frames[:, 0].cpu().numpy(), axes=(1, 2, 3))
    values = scipy.fft.idctn(spectrum * _longest_cosines(), axes=(1, 2, 3))
    return torch.from_numpy(values)[:, None].to(frames.device)


@cache
def _longest_cosines() -> Bool[np.ndarray, "128 128 128"]:
    axis = np.arange(FRAME) ** 2
    squared = axis[:, None, None] + axis[:, None] + axis
    order = squared.ravel().argsort(kind="stable")
    kept = np.zeros(squared.size, bool)
    kept[order[:NUMBERS]] = True
    return kept.reshape(squared.shape)


def fit_block_pca(frames: Iterable[Frames]) -> Components:
    """Return the 16 components that keep the most of 8^3 patches of training frames, as rows."""
    moment = torch.zeros(PATCH_VALUES, PATCH_VALUES, dtype=torch.float64)
    for some in frames:
        rows = rearrange(to_patches(some), "b i j k v -> (b i j k) v").double().cpu()
        moment += rows.T @ rows
    return patch_components(moment)[:LATENT_CHANNELS]


def block_pca(frames: Frames, components: Components) -> Frames:
    """Return what 16 numbers a patch give."""
    basis = components.to(frames.device)
    return from_patches(to_patches(frames) @ basis.T @ basis)


def baseline_reconstructions(
    frames: Frames, components: Components, *, periodic: bool, lattices: Lattices | None = None
) -> dict[str, Frames]:
    """Return each baseline's reconstruction of frames."""
    found = {"fourier": fourier_truncation(frames) if periodic else cosine_truncation(frames)}
    if periodic and lattices is not None:
        found["fourier_lattice"] = fourier_truncation(frames, lattices)
    return found | {"block_pca": block_pca(frames, components)}


def baseline_errors(train: Iterable[Frames], val: Iterable[Frames], *, periodic: bool) -> dict[str, dict[str, float]]:
    """Return, by baseline, density_error_median and _p95 and electron_error_median over validation frames.

    Args:
        train: frames to fit block PCA on; 32 crystals are enough.
        val: frames to judge by.
        periodic: whether opposite faces of a frame touch.
    """
    components = fit_block_pca(train)
    errors: dict[str, list[float]] = {}
    electrons: dict[str, list[float]] = {}
    for frames in val:
        for name, found in baseline_reconstructions(frames, components, periodic=periodic).items():
            errors.setdefault(name, []).extend(density_error(found, frames).tolist())
            electrons.setdefault(name, []).extend(electron_error(found, frames).tolist())
    return {
        name: {
            "density_error_median": float(np.median(some)),
            "density_error_p95": float(np.quantile(some, 0.95)),
            "electron_error_median": float(np.median(electrons[name])),
        }
        for name, some in errors.items()
    }
