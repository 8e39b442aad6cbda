"""Pictures are PNG that a reader can open, drawn without a screen."""

import io

import matplotlib.image
import numpy as np
import pytest

from rhoray.evaluate.plots import parity_figure, reconstruction_figure
from tests.unit.builders import salt


def opened(content: bytes) -> np.ndarray:
    assert content.startswith(b"\x89PNG\r\n\x1a\n")
    return matplotlib.image.imread(io.BytesIO(content), format="png")


@pytest.mark.parametrize("error", [0.0, 0.01], ids=["perfect", "noisy"])
def test_reconstruction(error):
    rho = salt((12, 12, 12)).values
    noise = error * np.random.default_rng(0).normal(size=rho.shape)
    image = opened(reconstruction_figure(rho, rho + noise, "NaCl"))
    assert image.shape[1] > 2 * image.shape[0] > 400  # three panels side by side
    assert image[..., :3].std() > 0.1


@pytest.mark.parametrize("count", [1, 50])
def test_parity(count):
    expected = np.linspace(1, 100, count)
    image = opened(parity_figure("bulk modulus", "GPa", expected, expected + 1, (np.ones(count), np.ones(count))))
    assert min(image.shape[:2]) > 300


def test_the_same_picture_twice():
    values = np.linspace(1, 100, 10)
    pictures = {parity_figure("x", "GPa", values, values, (values / 10, values / 10)) for _ in range(2)}
    assert len(pictures) == 1
