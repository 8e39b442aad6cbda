"""Periodic Fourier resampling: the trigonometric interpolant of a density on another grid.

Exact for a band-limited field, and the mean (the electron count) is kept on any grid. An even grid's Nyquist
coefficient stands for +n/2 and -n/2 at once: going up it is shared between the two, going down they are added.
"""

import numpy as np
import scipy.fft
from jaxtyping import Float

from rhoray.density.charge_density import Grid

# Other names than Grid's: run-time checks bind an axis name to one length per call.
Resampled = Float[np.ndarray, "ma mb mc"]


def fourier_resample(values: Grid, shape: tuple[int, int, int]) -> Resampled:
    """Return `values` on a grid of `shape` over the same cell.

    Args:
        values: any periodic field, (na, nb, nc).
        shape: points along a, b, c of the result.

    Example:
        >>> fourier_resample(np.ones((4, 5, 6)), (8, 8, 8)).mean().item()
        1.0
    """
    if values.shape == shape:
        return values.copy()
    spectrum = scipy.fft.rfftn(values, workers=1)
    for axis in (0, 1):
        spectrum = _resize_axis(spectrum, axis, shape[axis])
    spectrum = _resize_half_axis(spectrum, values.shape[2], shape[2])
    scale = np.prod(shape) / values.size
    return scipy.fft.irfftn(spectrum, s=shape, workers=1, overwrite_x=True) * scale


def finer_shape(
    shape: tuple[int, int, int], lattice: Float[np.ndarray, "3 3"], spacing: float, *, most_points: int
) -> tuple[int, int, int]:
    """Return a grid that is nowhere coarser than `shape` or `spacing`, or `shape` where that would be too large.

    Args:
        shape: a density's own grid.
        lattice: lattice vectors as rows, Angstrom.
        spacing: wanted distance between points, Angstrom.
        most_points: bound on the result; a huge cell must not become a huge array.
    """
    lengths = np.linalg.norm(lattice, axis=1)
    wanted = [int(np.ceil(length / spacing)) for length in lengths]
    a, b, c = (
        max(n, scipy.fft.next_fast_len(w, real=True)) if w < most_points else most_points
        for n, w in zip(shape, wanted, strict=True)
    )
    return (a, b, c) if a * b * c <= most_points else shape


def _resize_axis(spectrum: np.ndarray, axis: int, new: int) -> np.ndarray:
    """Cut or zero-pad one full-spectrum axis to `new` coefficients."""
    old = spectrum.shape[axis]
    if old == new:
        return spectrum
    moved = np.moveaxis(spectrum, axis, 0)
    out = np.zeros((new, *moved.shape[1:]), complex)
    kept = min(old, new)
    positive = (kept + 1) // 2  # an even grid's Nyquist row is handled apart
    out[:positive] = moved[:positive]
    negative = (kept - 1) // 2
    if negative:
        out[-negative:] = moved[-negative:]
    if kept % 2 == 0:
        half = kept // 2
        if new > old:
            out[half] = out[-half] = moved[half] / 2
        else:
            out[half] = moved[half] + moved[-half]
    return np.moveaxis(out, 0, axis)


def _resize_half_axis(spectrum: np.ndarray, old: int, new: int) -> np.ndarray:
    """The same for the last axis, of which only the coefficients 0 … n/2 are stored."""
    if old == new:
        return spectrum
    kept = min(old, new) // 2 + 1
    out = np.zeros((*spectrum.shape[:2], new // 2 + 1), complex)
    out[..., :kept] = spectrum[..., :kept]
    if min(old, new) % 2 == 0:
        # irfftn counts an inner coefficient twice (for its mirror image) and a Nyquist one once.
        out[..., kept - 1] *= 0.5 if new > old else 2.0
    return out
