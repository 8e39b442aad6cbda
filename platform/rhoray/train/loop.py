"""The training loop: plain torch, no Ray, no files. Whoever calls it brings batches and takes reports.

It runs the same alone and on many workers, on CPU and on GPU. What differs between those comes in as `Host`. Each
worker computes the gradient of its share of a batch, summed over crystals; the sums are added up over the workers and
divided by the crystals of the whole batch. One worker with a batch of eight, two with four each, and a worker that has
nothing left of a last small batch thus take the same step, to rounding.
"""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, cast

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from rhoray.core.errors import RhoRayError
from rhoray.models.autoencoder import Autoencoder
from rhoray.models.losses import density_error, electron_error
from rhoray.train.cores import Cores, cores_of
from rhoray.train.recipes import Recipe

JUDGED_AT_ONCE = 8


class Diverged(RhoRayError):
    """Loss or gradient is no longer finite. All workers raise it together, and trying again would not help."""

    code = "diverged"


@dataclass(frozen=True, slots=True)
class Batch:
    """Some crystals. A worker's share of a small batch may be empty; it takes the step nevertheless.

    Attributes:
        material_ids: whose frames they are.
        frames_of: gives the frames of a slice of them, (b, 1, 128, 128, 128) in electrons per cubic Angstrom. It may
            make them when asked, and is asked by several threads.
    """

    material_ids: list[str]
    frames_of: Callable[[slice], Float[Tensor, "b 1 128 128 128"]]

    def __len__(self) -> int:
        return len(self.material_ids)

    @property
    def frames(self) -> Float[Tensor, "b 1 128 128 128"]:
        """All of them."""
        return self.frames_of(slice(None))


# For an epoch: every batch from `TrainState.step` on.
Batches = Callable[[int], Iterable[Batch]]


@dataclass(slots=True)
class Running:
    """What an unfinished epoch has added up so far, over all workers but for the seconds."""

    loss: float = 0.0
    volumes: int = 0
    seconds: float = 0.0
    waited: float = 0.0


@dataclass(slots=True)
class TrainState:
    """All that a checkpoint must hold to go on exactly.

    Attributes:
        model: the network that learns.
        forward: the network as training calls it: compiled, or the network itself.
        average: the running mean of its weights, which is what counts; None where the recipe has none.
        optimiser: of the model.
        scheduler: of the optimiser, one step a batch.
        epoch: finished epochs.
        step: finished steps of the epoch that is running.
        running: totals of those steps.
        history: the metrics of each finished epoch.
    """

    model: Autoencoder
    forward: nn.Module
    average: AveragedModel | None
    optimiser: torch.optim.Optimizer
    scheduler: torch.optim.lr_scheduler.LambdaLR
    epoch: int = 0
    step: int = 0
    running: Running = field(default_factory=Running)
    history: list[dict[str, float]] = field(default_factory=list)

    @property
    def judged(self) -> Autoencoder:
        """The network that validation judges and that is written: the mean where there is one."""
        return self.model if self.average is None else cast(Autoencoder, self.average.module)

    def to_checkpoint(self) -> dict[str, Any]:
        """Return tensors and plain numbers only, so that it loads without unpickling code."""
        return {
            "model": self.model.state_dict(),
            "average": None if self.average is None else self.average.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "scheduler": {"last_epoch": self.scheduler.last_epoch},
            "random": torch.get_rng_state(),
            "random_cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
            "epoch": self.epoch,
            "step": self.step,
            "running": [self.running.loss, self.running.volumes, self.running.seconds, self.running.waited],
            "history": self.history,
        }

    def load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Go back to a saved state."""
        self.model.load_state_dict(checkpoint["model"])
        if self.average is not None:
            self.average.load_state_dict(checkpoint["average"])
        self.optimiser.load_state_dict(checkpoint["optimiser"])
        self.scheduler.last_epoch = checkpoint["scheduler"]["last_epoch"]
        for group, factor in zip(self.optimiser.param_groups, self.scheduler.lr_lambdas, strict=True):
            group["lr"] = group["initial_lr"] * factor(self.scheduler.last_epoch)
        torch.set_rng_state(checkpoint["random"].cpu())
        if len(checkpoint["random_cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all([state.cpu() for state in checkpoint["random_cuda"]])
        self.epoch, self.step = checkpoint["epoch"], checkpoint["step"]
        self.running = Running(*checkpoint["running"])
        self.history = list(checkpoint["history"])


def _alone(total: Tensor) -> None:
    """A sum over one worker is what it was."""


def _never() -> bool:
    return False


def _unheard(state: TrainState, loss: float) -> None:
    """Nobody listens."""


def _unsaved(state: TrainState) -> None:
    """Nothing is kept."""


@dataclass(frozen=True, slots=True)
class Host:
    """What the loop asks of whoever runs it; the defaults are those of one worker that keeps nothing.

    Attributes:
        size: number of workers.
        add_up: adds a tensor up over all workers, in place.
        gather: joins a list over all workers.
        due: whether this worker wants a checkpoint now; when any does, all take it after the same step.
        save: keeps a checkpoint in the middle of an epoch.
        on_step: hears of every step and its loss.
    """

    size: int = 1
    add_up: Callable[[Tensor], None] = _alone
    gather: Callable[[list[Any]], list[Any]] = list
    due: Callable[[], bool] = _never
    save: Callable[[TrainState], None] = _unsaved
    on_step: Callable[[TrainState, float], None] = _unheard


ALONE = Host()
# Called after each epoch, on every worker: reports, or saves a checkpoint.
OnEpoch = Callable[[dict[str, float], TrainState], None]


def start_state(
    model: Autoencoder, recipe: Recipe, *, steps_per_epoch: int, forward: nn.Module | None = None
) -> TrainState:
    """Return the state before the first step.

    Args:
        model: the network, its weights as training begins.
        recipe: rates and lengths.
        steps_per_epoch: for the schedule.
        forward: the network as training must call it, for instance compiled; default the network itself.
    """
    optimiser = torch.optim.Adam(_parameter_groups(model, recipe))
    total = max(1, recipe.epochs * steps_per_epoch)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _rate(step, total, recipe.warmup_steps))
    average = AveragedModel(model, multi_avg_fn=_mean_towards(recipe.ema_decay)) if recipe.ema_decay else None
    return TrainState(model, forward or model, average, optimiser, scheduler)


def _mean_towards(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    @torch.no_grad()
    def update(means: Sequence[Tensor], weights: Sequence[Tensor], count: Tensor | int) -> None:
        # A short memory at first, lest a short run be judged by the weights it began with.
        torch._foreach_lerp_(list(means), list(weights), 1 - min(decay, (1 + int(count)) / (10 + int(count))))

    return update


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
    state: TrainState, recipe: Recipe, train: Batches, val: Batches, *, on_epoch: OnEpoch, host: Host = ALONE
) -> None:
    """Train until `recipe.epochs`, from wherever the state is.

    Args:
        state: changes in place.
        recipe: of the run.
        train: this worker's share of every batch of an epoch, from the state's step on.
        val: this worker's share of the crystals to judge by.
        on_epoch: hears of each epoch.
        host: the other workers, and what listens and keeps.

    Raises:
        Diverged: loss or gradient is no longer finite; names the batch.
    """
    while state.epoch < recipe.epochs:
        _train_epoch(state, recipe, train(state.epoch), host)
        started = time.perf_counter()
        metrics = evaluate(state.judged, val(state.epoch), gather=host.gather)
        judged = time.perf_counter() - started
        done = state.running
        waited, trained = (max(host.gather([seconds])) for seconds in (done.waited, done.seconds))
        state.epoch, state.step, state.running = state.epoch + 1, 0, Running()
        metrics |= {
            "epoch": float(state.epoch),
            "train_loss": done.loss / max(1, done.volumes),
            "learning_rate": float(state.optimiser.param_groups[0]["lr"]),
            "volumes_per_second": done.volumes / max(trained, 1e-9),
            "data_wait_seconds": waited,
            "epoch_seconds": trained + judged,
        }
        state.history.append(metrics)
        on_epoch(metrics, state)


def _train_epoch(state: TrainState, recipe: Recipe, batches: Iterable[Batch], host: Host) -> None:
    state.forward.train()
    with cores_of(state.model.device, -(-recipe.batch_size // host.size)) as cores:
        asked = time.perf_counter()
        for batch in batches:
            waited = time.perf_counter() - asked
            loss, volumes, due = _step(state, recipe, batch, host, cores)
            now = time.perf_counter()
            running = state.running
            state.running = Running(
                running.loss + loss, running.volumes + volumes, running.seconds + now - asked, running.waited + waited
            )
            state.step += 1
            host.on_step(state, loss / volumes)
            if due:
                host.save(state)
            asked = time.perf_counter()


def _step(state: TrainState, recipe: Recipe, batch: Batch, host: Host, cores: Cores) -> tuple[float, int, bool]:
    """Take a step; return the batch's loss summed over crystals, their number, and whether a checkpoint is due."""
    parameters = [p for p in state.model.parameters() if p.requires_grad]

    def learn(share: slice) -> tuple[Tensor, tuple[Tensor, ...]]:
        own = losses(state.forward, recipe, batch.frames_of(share))
        if not own.requires_grad:  # crystals that the network gives back as they are, without its weights
            return own, ()
        # Not `backward`, which would add up in whatever order threads end.
        return own.detach(), torch.autograd.grad(own.sum(), parameters, allow_unused=True, materialize_grads=True)

    done = cores.map(learn, cores.shares(len(batch)))
    own = torch.cat([parameters[0].new_zeros(0), *(share for share, _ in done)])
    sums = [torch.zeros_like(p) for p in parameters]
    for _, found in done:
        if found:
            torch._foreach_add_(sums, found)
    facts = [float(own.sum()), float(len(own)), float(host.due())]
    gradients, (loss, count, due) = _add_up(sums, facts, host)
    torch._foreach_div_(gradients, count)
    for parameter, gradient in zip(parameters, gradients, strict=True):
        parameter.grad = gradient
    norm = nn.utils.clip_grad_norm_(parameters, recipe.clip_norm or math.inf)
    if not (math.isfinite(loss) and bool(torch.isfinite(norm))):
        _stop(state, batch, own, loss, host)
    state.optimiser.step()
    state.scheduler.step()
    if state.average is not None:
        state.average.update_parameters(state.model)
    return loss, int(count), due > 0


def _add_up(gradients: list[Tensor], facts: list[float], host: Host) -> tuple[list[Tensor], list[float]]:
    """Add gradients and a few numbers up over all workers, in one message; return both."""
    if host.size == 1:
        return gradients, facts
    parts = [gradient.flatten() for gradient in gradients]
    message = torch.cat([*parts, parts[0].new_tensor(facts)])
    host.add_up(message)
    *sums, told = message.split([*(len(part) for part in parts), len(facts)])
    return [total.view_as(gradient) for total, gradient in zip(sums, gradients, strict=True)], told.tolist()


def _stop(state: TrainState, batch: Batch, own: Tensor, loss: float, host: Host) -> None:
    """Say whose loss it was that broke; the whole batch's where every loss is finite and only the gradient is not."""
    finite = torch.isfinite(own).tolist()
    broken = host.gather([i for i, fine in zip(batch.material_ids, finite, strict=True) if not fine])
    everyone = host.gather(list(batch.material_ids))
    what = f"loss is {loss}" if broken else "gradient is not finite"
    raise Diverged(f"{what} in epoch {state.epoch + 1} at {broken or everyone} (step {state.step + 1})")


def losses(forward: nn.Module, recipe: Recipe, frames: Float[Tensor, "b 1 128 128 128"]) -> Float[Tensor, " b"]:
    """Return the loss of each crystal; the network runs in the recipe's precision, the loss in float32."""
    with torch.autocast(frames.device.type, torch.bfloat16, enabled=_in_bfloat16(recipe, frames.device)):
        found = forward(frames)
    found = found.float()
    if recipe.loss == "mse":
        return ((found - frames) ** 2).mean(dim=(1, 2, 3, 4))
    return density_error(found, frames)


def _in_bfloat16(recipe: Recipe, device: torch.device) -> bool:
    if recipe.precision == "auto":
        return device.type == "cuda" and torch.cuda.is_bf16_supported()
    return recipe.precision == "bfloat16"


def evaluate(
    model: Autoencoder, batches: Iterable[Batch], *, gather: Callable[[list[Any]], list[Any]] = list
) -> dict[str, float]:
    """Return reconstruction metrics over all workers' batches.

    Returns:
        val_density_error_median, _p95 and _worst (integral |d rho| / integral rho per crystal),
        val_electron_error_median, val_mse (over voxels, as the paper reports it).
    """
    model.eval()
    found: list[tuple[str, float, float, float]] = []
    with cores_of(model.device, JUDGED_AT_ONCE) as cores:
        for batch in batches:
            for part in cores.map(partial(_judge, model, batch), cores.shares(len(batch))):
                found += part
    # Sorted, so that a mean does not depend on who judged whom.
    everyone = sorted(gather(found))
    if not everyone:
        return {}
    errors, counts, squared = np.array([row[1:] for row in everyone]).T
    return {
        "val_density_error_median": float(np.median(errors)),
        "val_density_error_p95": float(np.quantile(errors, 0.95)),
        "val_density_error_worst": float(errors.max()),
        "val_electron_error_median": float(np.median(counts)),
        "val_mse": float(squared.mean()),
    }


@torch.no_grad()
def _judge(model: Autoencoder, batch: Batch, share: slice) -> list[tuple[str, float, float, float]]:
    """Return name, density error, electron error and mean square of each crystal of a share."""
    frames = batch.frames_of(share)
    found = model(frames).float()
    squares = ((found - frames) ** 2).mean(dim=(1, 2, 3, 4))
    columns = density_error(found, frames), electron_error(found, frames), squares
    return list(zip(batch.material_ids[share], *(column.tolist() for column in columns), strict=True))
