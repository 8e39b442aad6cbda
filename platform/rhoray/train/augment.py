"""Symmetry transforms of frames: views of a crystal that are as true as the one at hand.

A crystal has no first axis and no handedness that a density would show; a periodic one has no origin either.
Each transform is a rearrangement of voxels, so that no charge is made, lost or smoothed.
"""

import torch
from jaxtyping import Float
from torch import Tensor

AXES = 3


def augment_frames(
    frames: Float[Tensor, "b 1 n n n"], generator: torch.Generator, periodic: bool
) -> Float[Tensor, "b 1 n n n"]:
    """Return frames, each seen in its own way: axes in another order, some reversed, the origin elsewhere.

    Args:
        frames: (b, 1, n, n, n) in electrons per cubic Angstrom, on any device.
        generator: a CPU generator; its state alone decides the transforms, whatever the device.
        periodic: move the origin too; only where opposite faces touch (the `cell` frame) is that the same crystal.
    """
    # What is drawn are plain numbers on the CPU, so that a GPU is never waited for.
    return torch.stack([_transform(frame, generator, periodic) for frame in frames.unbind(0)])


def _transform(frame: Float[Tensor, "1 n n n"], generator: torch.Generator, periodic: bool) -> Float[Tensor, "1 n n n"]:
    order = torch.randperm(AXES, generator=generator).tolist()
    reverse = torch.randint(0, 2, (AXES,), generator=generator).tolist()
    seen = frame.permute(0, *(1 + axis for axis in order)).flip([1 + a for a in range(AXES) if reverse[a]])
    if not periodic:
        return seen
    shifts = torch.randint(0, frame.shape[-1], (AXES,), generator=generator).tolist()
    return torch.roll(seen, shifts, tuple(range(1, 1 + AXES)))
