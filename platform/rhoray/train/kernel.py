"""Fit a Gaussian process: one length scale a feature, found by the marginal likelihood of a part of the rows.

A few labels are far off. Noise is therefore Student's, not Gauss's: each row gets noise by how far its label is from
what all the others say of it, in a few rounds.

Sources: Rasmussen and Williams, Gaussian Processes for Machine Learning (2006), eqs. 2.30, 5.1 and 5.12; Lange, Little
and Taylor, J. Am. Stat. Assoc. 84, 881 (1989) for the weights. Pure torch, no Ray.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float

from rhoray.models.kernel import Kernel
from rhoray.models.scaling import Scaling, fit_scaling

JITTER = 1e-6
# The search is in single precision, for speed.
SEARCH_JITTER = 1e-4
# Where the search begins: Matern amplitude, slope of the linear columns, constant, noise.
START = (1.0, 1.0, 1.0, 0.02)
# Of Student's distribution.
FREEDOM = 4.0
# From the median of absolute deviations to a normal distribution's standard one.
MAD = 1.4826


@dataclass(frozen=True, slots=True)
class KernelSettings:
    """How the scales are found.

    Attributes:
        rows: drawn for the marginal likelihood.
        steps: of Adam.
        rate: of Adam.
        kept: columns that keep a length scale, those that count most; the others drop out.
        rounds: of weighing labels by how far they are from what the others say.
    """

    rows: int = 1200
    steps: int = 45
    rate: float = 0.07
    kept: int = 250
    rounds: int = 2


@dataclass(frozen=True, slots=True)
class _Scales:
    near: torch.Tensor
    amplitude: torch.Tensor
    slope: torch.Tensor
    constant: torch.Tensor
    noise: torch.Tensor

    def covariance(self, points: torch.Tensor, linear: torch.Tensor) -> torch.Tensor:
        """Return the covariance, without noise, of points that bear `near` already."""
        squared = (points**2).sum(1)
        r = torch.sqrt(5 * (squared[:, None] + squared[None] - 2 * points @ points.T).clamp_min(1e-12))
        matern = self.amplitude * (1 + r + r * r / 3) * torch.exp(-r)
        return matern + self.slope * linear @ linear.T + self.constant


def fit_kernel(
    features: Float[np.ndarray, "n f"],
    values: Float[np.ndarray, " n"],
    linear: Float[np.ndarray, " f"],
    settings: KernelSettings,
    seed: int,
) -> Kernel:
    """Return the process's mean given all rows.

    Args:
        features: (n, f).
        values: on the scale that shall be predicted, (n,).
        linear: scale of each feature in the linear kernel, (f,); such features stay out of the Matern kernel.
        settings: see there.
        seed: of the rows that are drawn.
    """
    rows = _rows(features, values, linear)
    scales = _scales(rows, settings, seed)
    strength = (scales.near * rows.x.std(0)).numpy()
    least = np.sort(strength)[-min(settings.kept, len(strength))]
    kept = np.flatnonzero((rows.slopes != 0) | (strength >= least))
    near = np.where(rows.slopes == 0, scales.near.numpy(), 0.0)[kept]
    used = near != 0
    points = (rows.x[:, kept].numpy() * near)[:, used].astype(np.float16)
    lines = rows.lines[:, kept]
    weights = _weights(torch.tensor(points, dtype=torch.float64), lines, rows.y, scales, settings.rounds)
    gradient = (scales.slope * lines.T @ weights).numpy()
    constant = float(scales.constant) * float(weights.sum())
    scaling = rows.scaling
    return Kernel(
        Scaling(scaling.columns[kept], scaling.mean[kept], scaling.scale[kept]),
        near, float(scales.amplitude), points, weights.numpy(), gradient * rows.slopes[kept],
        rows.mean + rows.deviation * constant, rows.deviation,
    )  # fmt: skip


def surprise(
    features: Float[np.ndarray, "n f"],
    values: Float[np.ndarray, " n"],
    linear: Float[np.ndarray, " f"],
    settings: KernelSettings,
    seed: int,
) -> Float[np.ndarray, " n"]:
    """Return how far each value is from the mean that the process has given all the others.

    Args:
        features: (n, f).
        values: (n,).
        linear: as `fit_kernel` takes it, (f,).
        settings: see there.
        seed: of the rows that are drawn.

    Returns:
        Absolute differences on the scale of the values.
    """
    rows = _rows(features, values, linear)
    scales = _scales(rows, settings, seed)
    inverse = _inverse(scales.covariance(rows.x * scales.near, rows.lines), scales.noise)
    return _left_out(inverse, rows.y).abs().numpy() * rows.deviation


@dataclass(frozen=True, slots=True)
class _Rows:
    """Training rows as the process sees them: what enters the Matern kernel, what the linear one, and the target."""

    scaling: Scaling
    slopes: np.ndarray
    x: torch.Tensor
    lines: torch.Tensor
    y: torch.Tensor
    mean: float
    deviation: float


def _rows(features: np.ndarray, values: np.ndarray, linear: np.ndarray) -> _Rows:
    scaling = fit_scaling(features)
    mean, deviation = float(values.mean()), float(values.std())
    slopes = linear[scaling.columns] * scaling.scale
    x = torch.tensor(scaling.squashed(features) * (slopes == 0))
    lines = torch.tensor(scaling.standard(features) * slopes)
    return _Rows(scaling, slopes, x, lines, torch.tensor((values - mean) / deviation), mean, deviation)


def _scales(rows: _Rows, settings: KernelSettings, seed: int) -> _Scales:
    drawn = np.random.default_rng(seed).permutation(len(rows.y))[: settings.rows]
    return _search(rows.x[drawn].float(), rows.lines[drawn].float(), rows.y[drawn].float(), settings)


def _inverse(covariance: torch.Tensor, noise: torch.Tensor) -> torch.Tensor:
    noisy = covariance.clone()
    noisy.diagonal().add_(noise + JITTER)
    return torch.cholesky_inverse(torch.linalg.cholesky(noisy))


def _left_out(inverse: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return how far each label is from what all the others say."""
    return (inverse @ y) / torch.diagonal(inverse)


def _weights(points: torch.Tensor, lines: torch.Tensor, y: torch.Tensor, scales: _Scales, rounds: int) -> torch.Tensor:
    """Return the coefficient of each point."""
    covariance = scales.covariance(points, lines)
    inverse = _inverse(covariance, scales.noise)
    for _ in range(rounds):
        off = _left_out(inverse, y)
        usual = (MAD * off.abs().median()).clamp_min(JITTER**0.5)  # labels may follow the others exactly
        inverse = _inverse(covariance, scales.noise * (1 + (off / usual) ** 2 / FREEDOM))
    return inverse @ y


def _search(x: torch.Tensor, lines: torch.Tensor, y: torch.Tensor, settings: KernelSettings) -> _Scales:
    """Climb the marginal likelihood from equal scales."""
    near = torch.full((x.shape[1],), 0.5 * x.shape[1] ** -0.5).log().requires_grad_()
    rest = torch.tensor(START).log().requires_grad_()
    optimiser = torch.optim.Adam([near, rest], lr=settings.rate)
    unit = torch.eye(len(y))
    for _ in range(settings.steps):
        optimiser.zero_grad()
        scales = _Scales(near.exp(), *rest.exp())
        covariance = scales.covariance(x * scales.near, lines)
        factor = torch.linalg.cholesky(covariance + (scales.noise + SEARCH_JITTER) * unit)
        explained = torch.cholesky_solve(y[:, None], factor)[:, 0]
        loss = (0.5 * y @ explained + torch.log(torch.diagonal(factor)).sum()) / len(y)
        loss.backward()
        optimiser.step()
    return _Scales(near.detach().double().exp(), *rest.detach().double().exp())
