"""The loop by itself: the loss falls, a checkpoint goes on exactly, a broken loss names its crystals."""

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
from rhoray.train.loop import Batch, evaluate, run_epochs, start_state
from rhoray.train.recipes import RECIPES, Recipe, get_recipe
from tests.unit.builders import salt, skewed

RECIPE = Recipe(name="small", network=AutoencoderConfig(width=8, depth=1), epochs=3, warmup_steps=1)


@pytest.fixture(scope="module")
def batches():
    frames = [torch.from_numpy(to_frame(d, "cell"))[None, None] for d in (salt(), skewed())]

    def epoch(index):
        order = [0, 1] if index % 2 else [1, 0]
        return [Batch([f"mp-{i}"], frames[i]) for i in order]

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
    broken = Batch(["mp-7", "mp-8"], torch.full((2, 1, 128, 128, 128), torch.nan))
    with pytest.raises(RhoRayError, match=r"loss is nan in epoch 1 at \['mp-7', 'mp-8'\]"):
        run_epochs(start(components), RECIPE, lambda _: [broken], lambda _: [], on_epoch=silent)


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
