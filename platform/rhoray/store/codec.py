"""How one density becomes bytes and comes back.

`compact` keeps a density band-limited on the smallest grid that loses at most a given share of the charge, as
float16. `grid` keeps a finished 128 x 128 x 128 frame. Both are little-endian float16 in C order; the electron count
is stored beside them in double precision and restored exactly.
"""

from typing import Literal

import numpy as np
import scipy.fft
from jaxtyping import Float

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.resample import Spectrum, resample_spectrum, spectrum_of, wave_numbers

StoreKind = Literal["compact", "grid"]
DTYPE = np.dtype("<f2")

# Largest share of the charge that cutting the spectrum may move; float16 adds about 2e-4 more.
BAND_TOLERANCE = 5e-4
SMALLEST_GRID = 8
SHELLS = 4096


def encode_values(values: Grid) -> bytes:
    """Return float16 bytes in C order.

    Raises:
        Impossible: a value is beyond float16's range (65504 e/A3), far above any valence density.
    """
    peak = float(np.abs(values).max())
    if peak > float(np.finfo(DTYPE).max):
        raise Impossible(f"density of {peak:.3g} e/A3, expected less than 65504; is it rho x V?")
    return np.ascontiguousarray(values, DTYPE).tobytes()


def decode_values(content: bytes, grid: tuple[int, int, int], mean: float) -> Grid:
    """Return float64 values whose mean is exactly that of the density before rounding.

    Args:
        content: float16 bytes in C order.
        grid: (na, nb, nc).
        mean: electrons per cubic Angstrom, averaged over the cell.
    """
    values = np.frombuffer(content, DTYPE).reshape(grid).astype(np.float64)
    return values * (mean / values.mean())


def to_compact(density: ChargeDensity, *, tolerance: float = BAND_TOLERANCE) -> ChargeDensity:
    """Return the density as a compact shard gives it back: band-limited and rounded to float16.

    Training, jobs and the endpoint all see densities in this form, so that a file and its shard give one answer.
    """
    spectrum = spectrum_of(density.values)
    grid = _band_limit(spectrum, density.values.shape, density.lattice, tolerance)
    values = resample_spectrum(spectrum, density.values.shape, grid)
    mean = float(density.values.mean(dtype=np.float64))
    return ChargeDensity(
        decode_values(encode_values(values), grid, mean),
        density.lattice,
        density.species,
        density.frac_coords,
        density.kind,
    )


def band_limit(values: Grid, lattice: Float[np.ndarray, "3 3"], *, tolerance: float) -> tuple[int, int, int]:
    """Return the smallest grid that keeps all but `tolerance` of the charge where it is.

    By Cauchy-Schwarz and Parseval, the charge that a cut moves is at most N_electrons x sqrt(sum of |c_G|^2 beyond
    the cut) / mean density; the cut is the shortest |G| at which that bound holds, the same in every direction.
    """
    return _band_limit(spectrum_of(values), values.shape, lattice, tolerance)


def _band_limit(
    spectrum: Spectrum, shape: tuple[int, ...], lattice: np.ndarray, tolerance: float
) -> tuple[int, int, int]:
    power = spectrum.real**2 + spectrum.imag**2
    power[..., 1 : (shape[2] + 1) // 2] *= 2  # the half that rfftn leaves out
    length = wave_numbers(lattice, shape)
    # Shells as thin as this cost a grid point at most, and take a tenth of the time that sorting does.
    width = float(length.max()) / SHELLS
    shell = (length * (1 / width)).astype(np.int32)
    in_shell = np.bincount(shell.ravel(), weights=power.ravel(), minlength=SHELLS + 1)
    beyond = np.append(np.cumsum(in_shell[::-1])[::-1][1:], 0.0)
    bound = np.sqrt(beyond) / abs(spectrum[0, 0, 0].real)
    cut = (int(np.argmax(bound <= tolerance)) + 1) * width
    return _grid_for(cut, shape, lattice)


def _grid_for(cut: float, shape: tuple[int, ...], lattice: np.ndarray) -> tuple[int, int, int]:
    lengths = np.linalg.norm(lattice, axis=1)
    wanted = (2 * np.floor(cut * lengths / (2 * np.pi) + 1e-9) + 1).astype(int)
    sizes = [
        min(n, max(SMALLEST_GRID, scipy.fft.next_fast_len(int(w), real=True)))
        for n, w in zip(shape, wanted, strict=True)
    ]
    return sizes[0], sizes[1], sizes[2]
