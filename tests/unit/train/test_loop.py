"""The loop by itself: the loss falls, a checkpoint goes on exactly, a broken loss names its crystals."""

import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
import torch

from rhoray.core.errors import RhoRayError
from rhoray.density.frames import to_frame
from rhoray.models.autoencoder import (
    AutoencoderConfig,
    build_autoencoder,
    patch_components,
    patch_moment,
)
from rhoray.models.losses import density_error
from rhoray.train.loop import Batch, Host, evaluate, losses, run_epochs, start_state
from rhoray.train.recipes import RECIPES, Recipe, get_recipe
from tests.unit.builders import salt, skewed

RECIPE = Recipe(name="small", network=AutoencoderConfig(width=8, depth=1), epochs=3, warmup_steps=1)


@pytest.fixture(scope="module")
def batches():
    frames = [torch.from_numpy(to_frame(d, "cell"))[None, None] for d in (salt(), skewed())]

    def epoch(index):
        order = [0, 1] if index % 2 else [1, 0]
        return [Batch([f"mp-{i}"], frames[i].__getitem__) for i in order]

    return epoch


@pytest.fixture(scope="module")
def components(batches):
    return patch_components(sum(patch_moment(batch.frames) for batch in batches(0)))


def start(components, recipe=RECIPE):
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(recipe.network)
    model.set_basis(components)
    return start_state(model, recipe, steps_per_epoch=2)


def silent(metrics, state):
    """Report to no one."""


@pytest.fixture(scope="module")
def trained(batches, components):
    state, kept = start(components), []

    def keep(metrics, now):
        checkpoint = now.to_checkpoint()
        kept.append({**checkpoint, "model": {k: v.clone() for k, v in checkpoint["model"].items()}})
        kept[-1]["optimiser"] = torch.utils._pytree.tree_map(
            lambda x: x.clone() if isinstance(x, torch.Tensor) else x, checkpoint["optimiser"]
        )
        kept[-1]["history"] = list(checkpoint["history"])

    run_epochs(state, RECIPE, batches, batches, on_epoch=keep)
    return state, kept


def test_the_loss_falls(trained):
    state, _ = trained
    losses = [metrics["train_loss"] for metrics in state.history]
    assert len(losses) == 3
    assert losses[-1] < losses[0]
    assert state.history[-1]["val_density_error_median"] < state.history[0]["val_density_error_median"]


@pytest.mark.parametrize("after", [1, 2])
def test_a_checkpoint_goes_on_exactly(trained, batches, components, after):
    state, kept = trained
    resumed = start(components)
    resumed.load_checkpoint(kept[after - 1])
    assert resumed.epoch == after
    run_epochs(resumed, RECIPE, batches, batches, on_epoch=silent)
    assert resumed.epoch == 3
    for name, value in state.model.state_dict().items():
        assert torch.equal(resumed.model.state_dict()[name], value), name
    for was, now in zip(state.history, resumed.history, strict=True):
        assert now["train_loss"] == was["train_loss"]
        assert now["learning_rate"] == was["learning_rate"]


def test_a_checkpoint_needs_no_code_to_load(trained, tmp_path):
    torch.save(trained[1][0], tmp_path / "x.pt")
    loaded = torch.load(tmp_path / "x.pt", weights_only=True)
    assert loaded["epoch"] == 1


def test_a_finished_run_does_nothing(trained, components):
    state = start(components)
    state.load_checkpoint(trained[1][-1])
    run_epochs(state, RECIPE, lambda _: [], lambda _: [], on_epoch=silent)
    assert (state.epoch, len(state.history)) == (3, 3)


def test_a_broken_loss_names_its_crystals(components):
    broken = Batch(["mp-7", "mp-8"], torch.full((2, 1, 128, 128, 128), torch.nan).__getitem__)
    with pytest.raises(RhoRayError, match=r"loss is nan in epoch 1 at \['mp-7', 'mp-8'\]"):
        run_epochs(start(components), RECIPE, lambda _: [broken], lambda _: [], on_epoch=silent)


def gradients_of(count: int):
    """Return hosts of so many workers in threads, which add up and gather as processes would."""
    barrier, box = threading.Barrier(count, timeout=60), [None] * count

    def host(rank: int) -> Host:
        def exchange(mine):
            box[rank] = mine
            barrier.wait()
            everyone = list(box)
            barrier.wait()
            return everyone

        def add_up(total):
            total.copy_(torch.stack(exchange(total.clone())).sum(0))

        return Host(size=count, add_up=add_up, gather=lambda mine: [x for part in exchange(mine) for x in part])

    return [host(rank) for rank in range(count)]


def in_threads(work, count):
    with ThreadPoolExecutor(count) as pool:
        return [future.exception() for future in [pool.submit(work, rank) for rank in range(count)]]


def share(batches, rank, world):
    """Return one worker's part of each batch; the last one has nothing for the first worker."""

    def epoch(index):
        frames = torch.cat([batch.frames for batch in batches(0)] * 2)
        ids = ["a", "b", "c", "d"]
        for start, stop in ((0, 3), (3, 4)):
            size = stop - start
            own = slice(start + size * rank // world, start + size * (rank + 1) // world)
            yield Batch(ids[own], frames[own].__getitem__)

    return epoch


def test_workers_together_take_the_steps_of_one(batches, components):
    recipe = replace(RECIPE, epochs=2)
    alone = start(components, recipe)
    run_epochs(alone, recipe, share(batches, 0, 1), batches, on_epoch=silent)
    hosts, states = gradients_of(2), [start(components, recipe) for _ in range(2)]

    def work(rank):
        run_epochs(states[rank], recipe, share(batches, rank, 2), lambda _: [], on_epoch=silent, host=hosts[rank])

    assert in_threads(work, 2) == [None, None]
    for name, weight in alone.model.state_dict().items():
        assert torch.equal(states[0].model.state_dict()[name], states[1].model.state_dict()[name])
        torch.testing.assert_close(states[0].model.state_dict()[name], weight, rtol=1e-3, atol=1e-6)
    for one, two in zip(alone.history, states[0].history, strict=True):
        assert two["train_loss"] == pytest.approx(one["train_loss"], rel=1e-5)


def test_a_loss_that_breaks_on_one_worker_stops_both_with_its_crystal(batches, components):
    hosts, states = gradients_of(2), [start(components) for _ in range(2)]
    good = torch.cat([batch.frames for batch in batches(0)])

    def work(rank):
        frames = torch.full_like(good, torch.inf) if rank else good
        run_epochs(
            states[rank], RECIPE, lambda _: [Batch([f"mp-{rank}0", f"mp-{rank}1"], frames.__getitem__)], lambda _: [],
            on_epoch=silent, host=hosts[rank],
        )  # fmt: skip

    errors = in_threads(work, 2)
    assert str(errors[0]) == str(errors[1])
    assert "['mp-10', 'mp-11']" in str(errors[0])
    assert "epoch 1" in str(errors[0])


def test_a_gradient_that_breaks_stops_before_the_weights_do(batches, components):
    state = start(components)
    state.model.decoder_head.weight.register_hook(lambda gradient: gradient * torch.inf)
    before = {name: weight.clone() for name, weight in state.model.state_dict().items()}
    with pytest.raises(RhoRayError, match="gradient is not finite in epoch 1 at \\['mp-1'\\]"):
        run_epochs(state, RECIPE, batches, lambda _: [], on_epoch=silent)
    assert all(torch.equal(before[name], weight) for name, weight in state.model.state_dict().items())


def test_what_counts_is_the_mean_of_the_weights(batches, components):
    recipe = replace(RECIPE, epochs=1, ema_decay=0.3)
    state, seen = start(components, recipe), []

    def remember(now, loss):
        seen.append([p.detach().clone() for p in now.model.parameters()])

    run_epochs(state, recipe, batches, batches, on_epoch=silent, host=Host(on_step=remember))
    share_of_old = min(0.3, 2 / 11)  # a short memory after one update
    for mean, first, second in zip(state.judged.parameters(), *seen, strict=True):
        torch.testing.assert_close(mean, share_of_old * first + (1 - share_of_old) * second)
    assert state.history[0]["val_mse"] == evaluate(state.judged, batches(0))["val_mse"]
    assert state.history[0]["val_mse"] != evaluate(state.model, batches(0))["val_mse"]
    assert start(components, replace(recipe, ema_decay=0.0)).judged is not None


def test_a_checkpoint_within_an_epoch_goes_on_exactly(trained, batches, components, tmp_path):
    whole, _ = trained
    kept = []

    def save(now):
        torch.save(now.to_checkpoint(), tmp_path / f"{len(kept)}.pt")
        kept.append((now.epoch, now.step))

    run_epochs(start(components), RECIPE, batches, batches, on_epoch=silent, host=Host(due=lambda: True, save=save))
    assert kept == [(epoch, step) for epoch in range(3) for step in (1, 2)]
    for index, (epoch, step) in enumerate(kept[:4]):
        resumed = start(components)
        resumed.load_checkpoint(torch.load(tmp_path / f"{index}.pt", weights_only=True))
        assert (resumed.epoch, resumed.step) == (epoch, step)
        first = resumed.epoch
        run_epochs(
            resumed, RECIPE, lambda e, first=first, step=step: list(batches(e))[step if e == first else 0 :], batches,
            on_epoch=silent,
        )  # fmt: skip
        assert curve(resumed) == curve(whole)
        for name, value in whole.judged.state_dict().items():
            assert torch.equal(resumed.judged.state_dict()[name], value), name


TIMES = {"volumes_per_second", "data_wait_seconds", "epoch_seconds"}


def curve(state):
    return [{name: value for name, value in metrics.items() if name not in TIMES} for metrics in state.history]


def test_the_same_seed_gives_the_same_curve(trained, batches, components):
    again = start(components)
    run_epochs(again, RECIPE, batches, batches, on_epoch=silent)
    assert curve(again) == curve(trained[0])


def test_bfloat16_is_for_the_network_not_for_the_loss(batches, components):
    (one, _), model = batches(0), start(components).model
    exact = losses(model, RECIPE, one.frames)
    rounded = losses(model, replace(RECIPE, precision="bfloat16"), one.frames)
    assert rounded.dtype == torch.float32
    assert rounded.item() != exact.item()
    assert rounded.item() == pytest.approx(exact.item(), abs=0.01)
    assert torch.equal(losses(model, replace(RECIPE, precision="float32"), one.frames), exact)


def test_the_loop_runs_where_ray_is_not_installed():
    code = (
        "import sys; sys.modules['ray'] = None; import torch\n"
        "from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder\n"
        "from rhoray.train import augment, checkpoints, feed\n"
        "from rhoray.train.loop import Batch, run_epochs, start_state\n"
        "from rhoray.train.recipes import Recipe\n"
        "recipe = Recipe(name='x', network=AutoencoderConfig(width=4, depth=1), epochs=1)\n"
        "state = start_state(build_autoencoder(recipe.network), recipe, steps_per_epoch=1)\n"
        "batch = Batch(['mp-1'], torch.rand(1, 1, 128, 128, 128).__getitem__)\n"
        "run_epochs(state, recipe, lambda _: [batch], lambda _: [batch], on_epoch=lambda m, s: print(m['val_mse']))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) > 0


def test_evaluation_is_of_each_crystal(batches, components):
    model = start(components).model
    found = evaluate(model, batches(0))
    with torch.no_grad():
        errors = [density_error(model(batch.frames), batch.frames).item() for batch in batches(0)]
    assert found["val_density_error_median"] == pytest.approx(np.median(errors))
    assert found["val_density_error_worst"] == pytest.approx(max(errors))
    assert found["val_density_error_p95"] == pytest.approx(np.quantile(errors, 0.95))
    assert evaluate(model, []) == {}


def test_the_linear_core_moves_slowly(components):
    core, rest = start(components).optimiser.param_groups[::-1]
    assert core["lr"] == pytest.approx(RECIPE.core_rate * rest["lr"])
    assert sum(p.numel() for p in core["params"]) == 2 * 16 * 512


def test_rates_warm_up_and_cool_down(components):
    recipe = replace(RECIPE, epochs=20, warmup_steps=4)
    state, rates = start(components, recipe), []
    for _ in range(40):
        rates.append(state.scheduler.get_last_lr()[0])
        state.optimiser.step()
        state.scheduler.step()
    assert np.argmax(rates) in (3, 4)
    assert max(rates) == pytest.approx(recipe.learning_rate)
    assert state.scheduler.get_last_lr()[0] == pytest.approx(0.01 * recipe.learning_rate)
    assert (np.diff(rates[4:]) < 0).all()


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_bear_their_name(name):
    assert get_recipe(name).name == name
    assert get_recipe(name, epochs=2) == replace(get_recipe(name), epochs=2)


def test_the_papers_recipe():
    recipe = get_recipe("paper")
    assert (recipe.frame, recipe.loss, recipe.learning_rate, recipe.warmup_steps) == ("padded", "mse", 1e-3, 0)
    assert recipe.network.architecture == "paper"


@pytest.mark.parametrize(("frame", "periodic"), [("cell", True), ("padded", False), ("box", False)])
def test_another_frame_changes_what_touches(frame, periodic):
    recipe = get_recipe("patch", frame=frame)
    assert (recipe.frame, recipe.network.periodic) == (frame, periodic)


@pytest.mark.parametrize(
    ("name", "epochs", "reason"), [("big", None, "zones, patch, paper"), ("zones", 0, "at least 1")]
)
def test_recipes_that_are_none(name, epochs, reason):
    with pytest.raises(RhoRayError, match=reason):
        get_recipe(name, epochs=epochs)
