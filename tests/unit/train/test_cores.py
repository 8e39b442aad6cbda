"""Crystals side by side: every one once, in order, whatever the number of cores; errors come through."""

import threading

import pytest
import torch

from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.train.cores import SHARE, cores_of
from rhoray.train.loop import Batch, run_epochs, start_state
from rhoray.train.recipes import Recipe

CPU = torch.device("cpu")


@pytest.fixture
def threads():
    """Sets how many threads torch has, and sets it back."""
    before = torch.get_num_threads()
    yield torch.set_num_threads
    torch.set_num_threads(before)


@pytest.mark.parametrize("have", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 4, 5])
def test_each_crystal_is_dealt_once_and_in_order(threads, have, count):
    threads(have)
    with cores_of(CPU, 8) as cores:
        shares = cores.shares(count)
        assert [i for share in cores.map(lambda s: list(range(count)[s]), shares) for i in share] == list(range(count))
    assert all(share.stop - share.start == SHARE for share in shares)
    assert torch.get_num_threads() == have


def test_threads_of_ones_own_divide_the_cores(threads):
    threads(7)
    together = threading.Barrier(3, timeout=30)

    def work(_):
        together.wait()  # three shares at the same time, or this breaks
        return torch.get_num_threads()

    with cores_of(CPU, 6) as cores:
        assert cores.map(work, cores.shares(6)) == [2, 2, 2]


def test_on_a_gpu_a_share_is_the_whole_batch():
    with cores_of(torch.device("cuda"), 8) as cores:
        assert cores.shares(5) == [slice(0, 5)]
        assert cores.shares(0) == []
        assert cores.map(lambda _: threading.current_thread(), cores.shares(5)) == [threading.current_thread()]


def test_an_error_of_a_thread_is_the_callers(threads):
    threads(2)
    with pytest.raises(ZeroDivisionError), cores_of(CPU, 8) as cores:
        cores.map(lambda share: 1 // (4 - share.start), cores.shares(8))
    assert torch.get_num_threads() == 2


def test_a_curve_does_not_depend_on_the_number_of_cores(threads):
    recipe = Recipe(name="small", network=AutoencoderConfig(width=4, depth=1), epochs=2, warmup_steps=1)
    frames = torch.rand(5, 1, 128, 128, 128, generator=torch.Generator().manual_seed(0))
    batch = Batch([f"mp-{i}" for i in range(5)], frames.__getitem__)

    def curve(have):
        threads(have)
        torch.manual_seed(0)
        state = start_state(build_autoencoder(recipe.network), recipe, steps_per_epoch=1)
        run_epochs(state, recipe, lambda _: [batch], lambda _: [batch], on_epoch=lambda *_: None)
        return [(epoch["train_loss"], epoch["val_mse"]) for epoch in state.history]

    assert curve(1) == curve(2)
