"""Frames: three ways to look at one crystal through 128 x 128 x 128 voxels of electrons per cubic Angstrom.

- `cell`: the unit cell itself, resampled periodically. Keeps every electron; loses absolute lengths. An axis of more
  than 128 points is shortened with a taper: see `resample`.
- `padded`: the paper's: the native grid, zero-padded at the high end, or shrunk linearly when an axis is longer.
- `box`: a fixed cube of 12.8 A cut from the periodic crystal. Lengths are physical, the choice of cell drops out.
"""

from typing import Literal

import numpy as np
from jaxtyping import Float, Float32
from scipy import ndimage

from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.resample import finer_shape, fourier_resample, interpolate_block

FRAME_SIZE = 128
FRAME_SHAPE = (FRAME_SIZE, FRAME_SIZE, FRAME_SIZE)
BOX_SPACING = 0.1
MOST_POINTS = 2**25
ANY_NUMBER = 2**62
# The spline coefficients of a block feel its edge, by 0.27 a point.
MARGIN = 16

FrameKind = Literal["cell", "padded", "box"]
FRAME_KINDS: tuple[FrameKind, ...] = ("cell", "padded", "box")
Frame = Float32[np.ndarray, "128 128 128"]


def to_frame(density: ChargeDensity, kind: FrameKind) -> Frame:
    """Return the view of a density that a network sees, in electrons per cubic Angstrom, float32.

    Args:
        density: e/A3 on its own grid.
        kind: `cell`: the cell on 128^3 points, whatever its shape; `box`: a Cartesian cube; `padded`: the grid as it
            is, filled up with zeros, or zoomed where an axis has more than 128 points, as in arXiv:2605.07227.
    """
    if kind == "cell":
        frame = fourier_resample(density.values, FRAME_SHAPE, taper=True)
    elif kind == "padded":
        frame = _padded(density.values)
    else:
        frame = _box(density)
    return np.ascontiguousarray(frame, dtype=np.float32)


def _padded(values: Grid) -> Float[np.ndarray, "128 128 128"]:
    if max(values.shape) > FRAME_SIZE:
        # As the paper's code does it; neither periodic nor charge-conserving, hence only a yardstick.
        return ndimage.zoom(values, [FRAME_SIZE / n for n in values.shape], order=1)
    return np.pad(values, [(0, FRAME_SIZE - n) for n in values.shape])


def _box(density: ChargeDensity) -> Grid:
    # Cubic splines on a grid as fine as the box's own add less error than the box's spacing does.
    fine = finer_shape(density.values.shape, density.lattice, BOX_SPACING, most_points=ANY_NUMBER)
    edge = (FRAME_SIZE - 1) * BOX_SPACING
    to_grid = np.linalg.inv(density.lattice).T * np.array(fine)[:, None]
    corners = to_grid @ (edge * np.indices((2, 2, 2)).reshape(3, 8))
    start, length = _block(corners, fine)
    if np.prod(length, dtype=object) > MOST_POINTS:  # a box of a needle or of a sliver reaches through too many cells
        to_grid *= np.array(density.values.shape)[:, None] / np.array(fine)[:, None]
        start, values = [0, 0, 0], density.values
    else:
        values = interpolate_block(density.values, fine, start, length)
    axis = np.arange(FRAME_SIZE) * BOX_SPACING
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"))
    coordinates = np.einsum("ij,jxyz->ixyz", to_grid, points) - np.asarray(start)[:, None, None, None]
    return ndimage.map_coordinates(values, coordinates, order=3, mode="grid-wrap")


def _block(corners: Float[np.ndarray, "3 8"], fine: tuple[int, int, int]) -> tuple[list[int], list[int]]:
    """Return the part of a periodic grid that holds the corners; all of an axis that would be wrapped around."""
    low = np.floor(corners.min(axis=1)).astype(int) - MARGIN
    length = np.ceil(corners.max(axis=1)).astype(int) + MARGIN + 1 - low
    whole = length >= fine
    return np.where(whole, 0, low).tolist(), np.where(whole, fine, length).tolist()
