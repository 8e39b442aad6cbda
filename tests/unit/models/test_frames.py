"""Frames on the device: three small matrix products give what Fourier resampling gives."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.density.frames import FRAME_KINDS, to_frame
from rhoray.models.frames import _resample_batch, frames_tensor
from tests.unit.builders import salt, skewed


@pytest.mark.parametrize("kind", FRAME_KINDS)
def test_frames_are_those_of_the_density(kind):
    densities = [skewed((10, 12, 15)), salt((16, 16, 16))]
    found = frames_tensor(densities, kind)
    assert found.shape == (2, 1, 128, 128, 128)
    assert found.dtype == torch.float32
    for frame, density in zip(found.numpy(), densities, strict=True):
        np.testing.assert_allclose(frame[0], to_frame(density, kind), atol=2e-5)


@settings(max_examples=15, deadline=None)
@given(shape=st.tuples(*[st.integers(2, 140)] * 3), seed=st.integers(0, 9))
def test_any_grid_even_or_odd_shorter_or_longer(shape, seed):
    values = np.random.default_rng(seed).uniform(0, 5, shape)
    density = skewed()
    object.__setattr__(density, "values", values)
    np.testing.assert_allclose(frames_tensor([density], "cell")[0, 0].numpy(), to_frame(density, "cell"), atol=1e-4)


def test_a_batch_of_unequal_grids_is_one_by_one():
    rng = np.random.default_rng(0)
    grids = [rng.uniform(0, 5, shape) for shape in ((9, 10, 11), (20, 8, 31), (12, 12, 12))]
    together = _resample_batch(grids, torch.device("cpu"))
    for frame, grid in zip(together, grids, strict=True):
        torch.testing.assert_close(frame, _resample_batch([grid], torch.device("cpu"))[0], atol=1e-5, rtol=1e-5)


def test_the_electron_count_is_kept():
    frame = frames_tensor([skewed()], "cell").double()
    assert frame.mean().item() * skewed().volume == pytest.approx(skewed().n_electrons, rel=1e-6)
