"""Frames: three ways to look at one crystal through 128 x 128 x 128 voxels of electrons per cubic Angstrom.

- `cell`: the unit cell itself, resampled periodically. Keeps every electron; loses absolute lengths.
- `padded`: the paper's: the native grid, zero-padded at the high end, or shrunk linearly when an axis is longer.
- `box`: a fixed cube of 12.8 A cut from the periodic crystal. Lengths are physical, the choice of cell drops out.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.resample import finer_shape, fourier_resample

FRAME_SIZE = 128
FRAME_SHAPE = (FRAME_SIZE, FRAME_SIZE, FRAME_SIZE)
BOX_SPACING = 0.1
MOST_POINTS = 2**25

FrameKind = Literal["cell", "padded", "box"]
FRAME_KINDS: tuple[FrameKind, ...] = ("cell", "padded", "box")
Frame = Float32[np.ndarray, "128 128 128"]


def to_frame(density: ChargeDensity, kind: FrameKind) -> Frame:
    """Return the view of a density that a network sees, in electrons per cubic Angstrom."""
    if kind == "cell":
        frame = fourier_resample(density.values, FRAME_SHAPE)
    elif kind == "padded":
        frame = _padded(density.values)
    else:
        frame = _box(density)
    return np.ascontiguousarray(frame, dtype=np.float32)


def is_periodic(kind: FrameKind) -> bool:
    """Return whether opposite faces of the frame touch."""
    return kind == "cell"


def _padded(values: Grid) -> Float[np.ndarray, "128 128 128"]:
    if max(values.shape) > FRAME_SIZE:
        # As the paper's code does it; neither periodic nor charge-conserving, hence only a yardstick.
        return ndimage.zoom(values, [FRAME_SIZE / n for n in values.shape], order=1)
    return np.pad(values, [(0, FRAME_SIZE - n) for n in values.shape])


def _box(density: ChargeDensity) -> Grid:
    # Cubic splines on a grid as fine as the box's own add less error than the box's spacing does.
    fine = finer_shape(density.values.shape, density.lattice, BOX_SPACING, most_points=MOST_POINTS)
    values = fourier_resample(density.values, fine)
    axis = np.arange(FRAME_SIZE) * BOX_SPACING
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    to_fractional = np.linalg.inv(density.lattice).T
    coordinates = np.einsum("ij,jxyz->ixyz", to_fractional, points)
    coordinates *= np.array(fine)[:, None, None, None]
    return ndimage.map_coordinates(values, coordinates, order=3, mode="grid-wrap")
