"""The way back: from a latent to a charge density on a grid of the caller's."""

from typing import ClassVar

import numpy as np
import torch
from jaxtyping import Float

from rhoray.core.errors import InputRefused
from rhoray.density.resample import fourier_resample
from rhoray.models.encoder_files import TrainedAutoencoder

Shape = tuple[int, int, int]
Latent = Float[np.ndarray, "16 16 16 16"]
Decoded = Float[np.ndarray, "na nb nc"]


class NoReconstruction(InputRefused):
    """The encoder's frame does not hold the whole cell, so that no density can be made of its latent."""

    code: ClassVar[str] = "no-reconstruction"


@torch.inference_mode()
def decode_latent(trained: TrainedAutoencoder, latent: Latent, *, seen: Shape, shape: Shape) -> Decoded:
    """Return the density that a latent stands for, electrons per cubic Angstrom.

    Args:
        trained: the autoencoder that made the latent.
        latent: (16, 16, 16, 16).
        seen: the grid of the density that was encoded; what a padded frame holds beyond it is padding.
        shape: points along a, b, c of the result.

    Raises:
        NoReconstruction: the frame is a box, or a padded one that had to be shrunk.
    """
    frame = trained.model.decode(torch.from_numpy(latent)[None].to(trained.model.device))[0, 0].cpu().numpy()
    if trained.frame == "padded" and all(n <= size for n, size in zip(seen, frame.shape, strict=True)):
        frame = frame[: seen[0], : seen[1], : seen[2]]
    elif trained.frame != "cell":
        raise NoReconstruction(
            f"this model looks at crystals through a frame ({trained.frame}) that does not hold the whole cell; "
            "take a bundle with the frame `cell`"
        )
    return fourier_resample(frame.astype(np.float64), shape)


def misplaced_charge(found: Decoded, expected: Decoded) -> float:
    """Return integral |found - expected| / integral expected, both on one grid of one cell."""
    return float(np.abs(found - expected).sum() / expected.sum())
