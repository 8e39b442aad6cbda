"""A latent becomes a density on any grid, where the frame holds the whole cell."""

import dataclasses

import numpy as np
import pytest
import torch

from rhoray.density.frames import FRAME_SHAPE, to_frame
from rhoray.inference.reconstruct import NoReconstruction, decode_latent, misplaced_charge
from rhoray.models.autoencoder import Autoencoder
from tests.unit.builders import skewed


class Remembers(Autoencoder):
    """A decoder that gives back one frame, whatever the latent: what is left is our way with frames."""

    def __init__(self, frame):
        super().__init__()
        self.frame = torch.nn.Parameter(torch.from_numpy(frame)[None, None], requires_grad=False)

    def decode(self, latents):
        return self.frame.expand(len(latents), -1, -1, -1, -1)


LATENT = np.zeros((16, 16, 16, 16), np.float32)


def trained(predictor, density, kind):
    return dataclasses.replace(predictor.bundle.autoencoder, model=Remembers(to_frame(density, kind)), frame=kind)


@pytest.mark.parametrize("kind", ["cell", "padded"])
def test_the_frame_goes_back_to_the_grid(predictor, kind):
    density = skewed()
    shape = density.values.shape
    made = decode_latent(trained(predictor, density, kind), LATENT, seen=shape, shape=shape)
    assert np.allclose(made, density.values, atol=1e-5)


def test_another_grid_keeps_the_mean(predictor):
    density = skewed()
    finer = tuple(2 * n for n in density.values.shape)
    made = decode_latent(trained(predictor, density, "cell"), LATENT, seen=density.values.shape, shape=finer)
    assert made.shape == finer
    assert made.mean() == pytest.approx(density.values.mean(), rel=1e-5)
    assert np.allclose(made[::2, ::2, ::2], density.values, atol=1e-5)


def test_a_box_is_refused(predictor):
    density = skewed()
    shape = density.values.shape
    with pytest.raises(NoReconstruction, match=r"frame \(box\)"):
        decode_latent(trained(predictor, density, "box"), LATENT, seen=shape, shape=shape)


def test_a_shrunk_padded_frame_is_refused(predictor):
    density = skewed()
    with pytest.raises(NoReconstruction):
        decode_latent(trained(predictor, density, "padded"), LATENT, seen=(140, 20, 20), shape=(140, 20, 20))


def test_a_real_decoder(predictor):
    density = skewed()
    latent = predictor.encode([density])[0]
    made = decode_latent(predictor.bundle.autoencoder, latent, seen=density.values.shape, shape=FRAME_SHAPE)
    assert made.shape == FRAME_SHAPE
    assert np.isfinite(made).all()


def test_misplaced_charge():
    expected = np.full((2, 2, 2), 1.0)
    found = expected.copy()
    found[0, 0, 0] = 0.5
    found[1, 1, 1] = 1.5
    assert misplaced_charge(found, expected) == pytest.approx(1 / 8)
