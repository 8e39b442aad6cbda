"""Linear baselines: they keep what fits into 65,536 numbers, and count those numbers honestly."""

import numpy as np
import pytest
import torch

from rhoray.density.frames import to_frame
from rhoray.models.autoencoder import from_patches
from rhoray.models.baselines import (
    NUMBERS,
    _longest,
    _longest_cosines,
    baseline_errors,
    block_pca,
    cosine_truncation,
    fit_block_pca,
    fourier_truncation,
)
from rhoray.models.losses import density_error
from tests.unit.builders import salt, skewed

CELL = torch.tensor([[3.0, 0.0, 0.0], [0.0, 4.0, 0.0], [0.5, 0.0, 16.0]], dtype=torch.float64)


@pytest.fixture(scope="module")
def frames():
    return torch.stack([torch.from_numpy(to_frame(d, "cell"))[None] for d in (salt(), skewed())])


@pytest.mark.parametrize("lattice", [torch.eye(3, dtype=torch.float64), CELL], ids=["index", "lattice"])
def test_as_many_numbers_as_a_latent(lattice):
    kept = _longest(lattice)
    numbers = 2 * int(kept[..., 1:].sum()) + int(kept[..., 0].sum())
    assert NUMBERS - 2 < numbers <= NUMBERS
    assert kept[0, 0, 0]


def test_true_lengths_give_a_long_axis_more_waves():
    kept = _longest(CELL)
    assert kept[0, 0].sum() > 3 * kept[:64, 0, 0].sum()


def test_coarse_densities_are_kept_and_noise_is_not(frames):
    assert density_error(fourier_truncation(frames), frames).max() < 1e-6
    noise = torch.rand(1, 1, 128, 128, 128, generator=torch.Generator().manual_seed(0))
    kept = (fourier_truncation(noise) - noise.mean()).square().sum() / (noise - noise.mean()).square().sum()
    assert kept.item() == pytest.approx(NUMBERS / 128**3, rel=0.05)


def test_cosines_are_as_many_and_keep_a_ramp(frames):
    assert _longest_cosines().sum() == NUMBERS
    ramp = torch.linspace(1, 2, 128)[:, None, None].expand(1, 1, 128, 128, 128).contiguous()
    assert density_error(cosine_truncation(ramp), ramp).item() < 1e-4 < density_error(fourier_truncation(ramp), ramp)


def test_block_pca_keeps_what_16_components_span():
    rng = np.random.default_rng(0)
    numbers, basis = rng.normal(size=(1, 16, 16, 16, 16)), rng.normal(size=(16, 512))
    frames = from_patches(torch.from_numpy(numbers @ basis).float())
    found = block_pca(frames, fit_block_pca([frames]))
    torch.testing.assert_close(found, frames, atol=1e-3, rtol=1e-3)


def test_errors_are_of_each_baseline(frames):
    pair = [frames[:1], frames[1:]]
    found = baseline_errors(pair, pair, periodic=True)
    assert set(found) == {"fourier", "block_pca"}
    expected = [density_error(block_pca(f, fit_block_pca(pair)), f).item() for f in pair]
    assert found["block_pca"]["density_error_median"] == pytest.approx(np.median(expected))
    assert found["block_pca"]["density_error_p95"] == pytest.approx(np.quantile(expected, 0.95))
    assert found["fourier"]["electron_error_median"] < 1e-6
