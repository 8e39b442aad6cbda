"""Invariants of a charge density: numbers that depend on neither origin, orientation nor choice of cell.

All are averages over the cell of functions of rho, its gradient and its Laplacian, or of rho smoothed at a physical
width; lengths are Angstrom, densities e/A3. Most look at the region between the atoms: there codes and
pseudopotentials agree, near the nuclei they do not.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import scipy.fft

from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.crystal import mass_density, volume_per_atom
from rhoray.density.resample import finer_shape, fourier_resample
from rhoray.features.block import Block, Latent

# Averages over fewer points would depend on the grid.
FINEST_SPACING = 0.18
MOST_POINTS = 2**23
QUANTILES = (0.0, 0.01, 0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
BINS = np.linspace(-3.0, 0.6, 19)
WIDTHS = (0.5, 1.0)
SMOOTH_QUANTILES = (0.05, 0.25, 0.5, 0.75)
SHELLS = ((0.01, 0.05), (0.05, 0.1), (0.1, 0.2), (0.2, 0.4), (0.4, 0.8), (0.8, 1.6))
WAVES = range(1, 7)
POWERS = (1 / 3, 2 / 3, 4 / 3, 5 / 3)
FLOOR = 1e-4
# Numbers of the region between the atoms, on which codes and pseudopotentials agree (see benchmarks, dialects): a model
# that shall read any code's density looks at these alone.
SETTLED = (
    "q1", "q5", "q10", "q20", "q30", "q40", "q50", "log_bin_-1.4", "log_bin_-1.2", "log_bin_-1.0", "log_bin_-0.8",
    "log_bin_-0.6", "shell_0.05_share", "shell_0.1_share", "shell_0.2_share",
)  # fmt: skip
# Reduced gradient s = |grad rho| / (2 (3 pi^2)^(1/3) rho^(4/3)); Perdew, Burke, Ernzerhof, PRL 77, 3865 (1996).
REDUCED = 2 * (3 * np.pi**2) ** (1 / 3)


@dataclass(frozen=True, slots=True)
class _Fields:
    """A density and what follows from its spectrum, all on one grid."""

    rho: Grid
    gradient: Grid
    laplacian: Grid
    smooth: tuple[Grid, ...]
    power: np.ndarray
    wave: np.ndarray

    @property
    def positive(self) -> Grid:
        return np.clip(self.rho, FLOOR, None)

    @property
    def reduced(self) -> Grid:
        return self.gradient / (REDUCED * self.positive ** (4 / 3))


def _fields(density: ChargeDensity) -> _Fields:
    fine = finer_shape(density.values.shape, density.lattice, FINEST_SPACING, most_points=MOST_POINTS)
    rho = fourier_resample(density.values, fine)
    spectrum = scipy.fft.rfftn(rho, workers=1)
    reciprocal = 2 * np.pi * np.linalg.inv(density.lattice).T
    index = [np.fft.fftfreq(n, 1 / n) for n in rho.shape[:2]] + [np.arange(rho.shape[2] // 2 + 1)]
    vectors = np.stack(np.meshgrid(*index, indexing="ij"), axis=-1) @ reciprocal
    wave = np.linalg.norm(vectors, axis=-1)
    back = functools.partial(scipy.fft.irfftn, s=rho.shape, workers=1)
    gradient = np.sqrt(sum(back(1j * vectors[..., i] * spectrum) ** 2 for i in range(3)))
    power = np.abs(spectrum / rho.size) ** 2
    power[..., 1 : (rho.shape[2] + 1) // 2] *= 2
    return _Fields(
        rho,
        gradient,
        back(-(wave**2) * spectrum),
        tuple(back(spectrum * np.exp(-0.5 * (wave * width) ** 2)) for width in WIDTHS),
        power,
        wave,
    )


def _named(density: ChargeDensity) -> Iterator[tuple[str, float]]:
    """Yield every invariant with its label."""
    f = _fields(density)
    yield "volume_per_atom", volume_per_atom(density)
    yield "mass_density", mass_density(density)
    yield "mean", float(f.rho.mean())
    for q, value in zip(QUANTILES, np.quantile(f.rho, QUANTILES), strict=True):
        yield f"q{100 * q:.0f}", float(value)
    counts, _ = np.histogram(np.log10(f.positive), bins=BINS)
    for edge, count in zip(BINS, counts, strict=False):
        yield f"log_bin_{edge:.1f}", float(count / f.rho.size)
    for power in POWERS:
        yield f"moment_{power:.2f}", float((f.positive**power).mean())
    yield "weizsaecker", float((f.gradient**2 / f.positive).mean())
    yield from _smooth(f)
    yield from _bonding_region(f)
    yield from _density_shells(f)
    yield from _waves(f)


def _smooth(f: _Fields) -> Iterator[tuple[str, float]]:
    for width, smooth in zip(WIDTHS, f.smooth, strict=True):
        yield f"smooth_{width}_min", float(smooth.min())
        yield f"smooth_{width}_std", float(smooth.std())
        for q, value in zip(SMOOTH_QUANTILES, np.quantile(smooth, SMOOTH_QUANTILES), strict=True):
            yield f"smooth_{width}_q{100 * q:.0f}", float(value)


def _bonding_region(f: _Fields) -> Iterator[tuple[str, float]]:
    """The half of the cell with the lower density."""
    low = f.rho <= np.median(f.rho)
    for name, values in (("gradient", f.gradient), ("laplacian", f.laplacian)):
        yield f"low_{name}_mean", float(values[low].mean())
        yield f"low_{name}_std", float(values[low].std())
    reduced = f.reduced
    for q in (0.1, 0.5, 0.9):
        yield f"reduced_q{100 * q:.0f}", float(np.quantile(reduced, q))
    yield "reduced_mean", float((reduced * f.positive).sum() / f.positive.sum())


def _density_shells(f: _Fields) -> Iterator[tuple[str, float]]:
    reduced = f.reduced
    for low, high in SHELLS:
        inside = (f.rho > low) & (f.rho < high)
        count = max(1, int(inside.sum()))
        yield f"shell_{low}_share", float(inside.mean())
        yield f"shell_{low}_reduced", float(reduced[inside].sum() / count)
        yield f"shell_{low}_laplacian", float(f.laplacian[inside].sum() / count)


def _waves(f: _Fields) -> Iterator[tuple[str, float]]:
    relative = f.power / f.rho.mean() ** 2
    for k in WAVES:
        inside = (f.wave >= k) & (f.wave < k + 1)
        yield f"wave_{k}", float(np.log10(relative[inside].sum() + 1e-9))


def invariants(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return the invariants of a density."""
    return np.array([value for _, value in _named(density)])


def _labels() -> tuple[str, ...]:
    probe = ChargeDensity(
        1 + 0.1 * np.cos(2 * np.pi * np.arange(512).reshape(8, 8, 8) / 8),
        3 * np.eye(3),
        ("H",),
        np.zeros((1, 3)),
    )
    return tuple(name for name, _ in _named(probe))


@functools.cache
def density_block() -> Block:
    """Return the block; its labels come from computing it once."""
    return Block("density", _labels(), invariants)
