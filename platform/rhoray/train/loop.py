"""The training loop: plain torch, no Ray, no files. Whoever calls it brings batches and takes reports.

It runs the same alone, under DistributedDataParallel, on CPU and on GPU. What differs between those comes in as
functions: `gather` joins a list over all workers.
"""

import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rhoray.core.errors import RhoRayError
from rhoray.models.autoencoder import Autoencoder
from rhoray.models.losses import density_error, electron_error
from rhoray.train.recipes import Recipe


@dataclass(frozen=True, slots=True)
class Batch:
    """Frames of some crystals, (b, 1, 128, 128, 128) in electrons per cubic Angstrom, and whose they are."""

    material_ids: list[str]
    frames: Float[Tensor, "b 1 128 128 128"]


Batches = Callable[[int], Iterable[Batch]]
Gather = Callable[[list[Any]], list[Any]]


@dataclass(slots=True)
class TrainState:
    """All that a checkpoint must hold to go on exactly."""

    model: Autoencoder
    forward: nn.Module
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    epoch: int = 0
    history: list[dict[str, float]] = field(default_factory=list)

    def to_checkpoint(self) -> dict[str, Any]:
        """Return tensors and plain numbers only, so that it loads without unpickling code."""
        return {
            "model": self.model.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": {"last_epoch": self.scheduler.last_epoch},
            "epoch": self.epoch,
            "history": self.history,
        }

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.model.load_state_dict(checkpoint["model"])
        self.optimiser.load_state_dict(checkpoint["optimiser"])
        self.scheduler.last_epoch = checkpoint["scheduler"]["last_epoch"]
        for group, factor in zip(self.optimiser.param_groups, self.scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * factor(self.scheduler.last_epoch)
        self.epoch = checkpoint["epoch"]
        self.history = list(checkpoint["history"])


# Called after each epoch, on every worker: reports, or saves a checkpoint.
OnEpoch = Callable[[dict[str, float], TrainState], None]


def start_state(
    model: Autoencoder, recipe: Recipe, *, steps_per_epoch: int, forward: nn.Module | None = None
) -> TrainState:
    """Return the state before the first step.

    Args:
        model: the network.
        recipe: rates and lengths.
        steps_per_epoch: for the schedule.
        forward: the network as training must call it, wrapped for data-parallel work; default the network itself.
    """
    optimiser = torch.optim.Adam(_parameter_groups(model, recipe))
    total = max(1, recipe.epochs * steps_per_epoch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total, recipe.warmup_steps))
    return TrainState(model, forward or model, optimiser, scheduler)


def _parameter_groups(model: Autoencoder, recipe: Recipe) -> list[dict[str, Any]]:
    """Let the linear core, which starts near its optimum, move more slowly than its corrections."""
    core = list(model.core_parameters())
    known = {id(p) for p in core}
    rest = [p for p in model.parameters() if id(p) not in known]
    groups = [(rest, recipe.learning_rate), (core, recipe.learning_rate * recipe.core_rate)]
    return [{"params": params, "lr": rate, "initial_lr": rate} for params, rate in groups if params]


def _rate(step: int, total: int, warmup: int) -> float:
    if warmup == 0:
        return 1.0
    if step < warmup:
        return (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, total - warmup))
    return 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2


def run_epochs(
    state: TrainState,
    recipe: Recipe,
    train: Batches,
    val: Batches,
    *,
    on_epoch: OnEpoch,
    gather: Gather = list,
) -> None:
    """Train until `recipe.epochs`, from wherever the state is.

    Raises:
        RhoRayError: the loss is no longer finite; names the batch.
    """
    while state.epoch < recipe.epochs:
        started = time.perf_counter()
        losses, volumes, waited = _train_epoch(state, recipe, train(state.epoch))
        trained = time.perf_counter() - started
        metrics = evaluate(state.model, val(state.epoch), gather=gather)
        state.epoch += 1
        all_losses, all_volumes = gather(losses), gather([volumes])
        metrics |= {
            "epoch": float(state.epoch),
            "train_loss": float(np.mean(all_losses)),
            "learning_rate": float(state.scheduler.get_last_lr()[0]),
            "volumes_per_second": float(sum(all_volumes) / trained),
            "data_wait_seconds": float(waited),
            "epoch_seconds": float(time.perf_counter() - started),
        }
        state.history.append(metrics)
        on_epoch(metrics, state)


def _train_epoch(state: TrainState, recipe: Recipe, batches: Iterable[Batch]) -> tuple[list[float], int, float]:
    """Return the loss of each step, the crystals seen, and the seconds spent waiting for them."""
    state.forward.train()
    losses: list[float] = []
    volumes, waited = 0, 0.0
    asked = time.perf_counter()
    for batch in batches:
        waited += time.perf_counter() - asked
        losses.append(_step(state, recipe, batch))
        volumes += len(batch.material_ids)
        asked = time.perf_counter()
    return losses, volumes, waited


def _step(state: TrainState, recipe: Recipe, batch: Batch) -> float:
    state.optimiser.zero_grad(set_to_none=True)
    found = state.forward(batch.frames)
    if recipe.loss == "mse":
        loss = nn.functional.mse_loss(found, batch.frames)
    else:
        loss = density_error(found, batch.frames).mean()
    value = float(loss.detach())
    if not math.isfinite(value):
        raise RhoRayError(f"loss is {value} in epoch {state.epoch + 1} at {batch.material_ids}")
    loss.backward()
    if recipe.clip_norm:
        nn.utils.clip_grad_norm_(state.model.parameters(), recipe.clip_norm)
    state.optimiser.step()
    state.scheduler.step()
    return value


@torch.no_grad()
def evaluate(model: Autoencoder, batches: Iterable[Batch], *, gather: Gather = list) -> dict[str, float]:
    """Return reconstruction metrics over all workers' batches.

    Returns:
        val_density_error_median, _p95 and _worst (integral |d rho| / integral rho per crystal),
        val_electron_error_median, val_mse (over voxels, as the paper reports it).
    """
    model.eval()
    errors: list[float] = []
    electrons: list[float] = []
    squares: list[float] = []
    for batch in batches:
        found = model(batch.frames)
        errors += density_error(found, batch.frames).tolist()
        electrons += electron_error(found, batch.frames).tolist()
        squares += ((found - batch.frames) ** 2).mean(dim=(1, 2, 3, 4)).tolist()
    all_errors = np.array(gather(errors))
    if not len(all_errors):
        return {}
    return {
        "val_density_error_median": float(np.median(all_errors)),
        "val_density_error_p95": float(np.quantile(all_errors, 0.95)),
        "val_density_error_worst": float(all_errors.max()),
        "val_electron_error_median": float(np.median(gather(electrons))),
        "val_mse": float(np.mean(gather(squares))),
    }
