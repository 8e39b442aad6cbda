"""Train the autoencoder on Ray Train: data-parallel workers, each reading its share of one common order by Ray Data.

The run's folder holds `autoencoder.safetensors` and `.json` (the best epoch), `metrics.jsonl`, `tensorboard/`,
pictures, and the checkpoints. `run.json` names the run that `--resume` continues.
"""

import json
import os
import time
import uuid
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.fs
import ray.train
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig

from rhoray.core.errors import DatasetError, ResourceError, RunError
from rhoray.core.storage import exists, join, normalise, open_filesystem, read_bytes, write_bytes
from rhoray.models.autoencoder import (
    build_autoencoder,
    count_parameters,
)
from rhoray.models.encoder_files import WEIGHTS
from rhoray.pipeline.batches import plan_dataset
from rhoray.pipeline.cluster import cpus_per_worker, hush_workers
from rhoray.pipeline.order import Plan, crystals_of, window_rows
from rhoray.store.manifest import Manifest, read_manifest
from rhoray.train.allocator import ALLOCATOR
from rhoray.train.checkpoints import Checkpoints, check_room, checkpoints_of, forget_others
from rhoray.train.feed import Feed
from rhoray.train.journal import Journal, say
from rhoray.train.loop import Diverged, Host, TrainState, run_epochs, start_state
from rhoray.train.outcome import best_epoch, initialise, write_outcome
from rhoray.train.recipes import Recipe

RUN = "run.json"
MOST_FAILURES = 5


@dataclass(frozen=True, slots=True)
class Task:
    """What every worker is told.

    Attributes:
        recipe: of the run.
        data: URI of the dataset.
        out: URI of the run.
        name: of the run.
        plan: of worker 0 of 1, from the start.
    """

    recipe: Recipe
    data: str
    out: str
    name: str
    plan: Plan

    @property
    def checkpoints(self) -> Checkpoints:
        """Where the run keeps itself."""
        return checkpoints_of(self.out, self.name)


def train_autoencoder(
    data: str,
    out: str,
    recipe: Recipe,
    *,
    workers: int = 2,
    gpu: bool = False,
    resume: bool = False,
) -> dict[str, Any]:
    """Train on the connected Ray and write the best epoch to `out`.

    A worker that is lost costs at most what was learned since the last checkpoint; where no other can replace it,
    the rest go on with the same batches.

    Args:
        data: URI of a dataset of densities.
        out: URI of the run.
        recipe: network and schedule.
        workers: data-parallel workers.
        gpu: give each worker a GPU.
        resume: go on from the last checkpoint of the run at `out`.

    Returns:
        recipe, parameters, epochs, volumes_per_second, val_density_error_median, _p95 and _worst, seconds, out.

    Raises:
        RunError: `out` can't be written, or training failed: the reason.
        DatasetError: no dataset, too few densities, or nothing to resume.
        ResourceError: the cluster has no room for the workers.
    """
    started = time.monotonic()
    out, data = normalise(out), normalise(data)  # a worker's folder is another one
    check_room(out, count_parameters(build_autoencoder(recipe.network)))
    manifest = read_manifest(data)
    task = prepare(manifest, out, recipe, workers, resume=resume)
    forget_others(out, task.name)
    _fit(task, workers, gpu=gpu)
    summary = write_outcome(out, recipe, task.checkpoints, manifest)
    return {**summary, "seconds": round(time.monotonic() - started, 2), "out": out}


def prepare(manifest: Manifest, out: str, recipe: Recipe, workers: int, *, resume: bool) -> Task:
    """Return what the workers are told, and note the run at `out`.

    Raises:
        DatasetError: too few densities, or nothing to resume.
        ResourceError: more workers than a batch has crystals.
    """
    counts = manifest.written.split.value_counts()
    if counts.get("train", 0) < workers or counts.get("val", 0) < 1:
        raise DatasetError(
            f"{manifest.uri}: splits {counts.to_dict()}, expected train and val crystals; "
            "more densities, or a column `split` in the label table, give both"
        )
    if recipe.batch_size < workers:
        raise ResourceError(f"batches of {recipe.batch_size} can't be shared by {workers} workers")
    plan = Plan(
        train=crystals_of(manifest, "train"),
        val=crystals_of(manifest, "val"),
        seed=recipe.seed,
        epochs=recipe.epochs,
        batch=recipe.batch_size,
        window=window_rows(manifest),
    )
    about = {"recipe": json.loads(json.dumps(asdict(recipe))), "data": manifest.uri, "crystals": plan.digest}
    name = _resumed(out, about) if resume else _new_run(out, about)
    return Task(recipe, manifest.uri, out, name, plan)


def _resumed(out: str, about: dict[str, Any]) -> str:
    try:
        run = json.loads(read_bytes(join(out, RUN)))
    except FileNotFoundError as error:
        raise DatasetError(f"{out}: no run to resume, start one without --resume") from error
    if run["recipe"] != about["recipe"]:
        raise DatasetError(f"{out}: that run has another recipe, expected the flags it was started with")
    if run.get("crystals") != about["crystals"]:
        raise DatasetError(
            f"{out}: that run learned from other crystals ({run.get('data')}), expected the same dataset"
        )
    return run["name"]


def _new_run(out: str, about: dict[str, Any]) -> str:
    if exists(join(out, RUN)) and not exists(join(out, WEIGHTS)):
        raise DatasetError(f"{out} holds an unfinished run: go on with --resume, or choose another --out")
    name = f"{about['recipe']['name']}-{uuid.uuid4().hex[:8]}"
    write_bytes(join(out, RUN), json.dumps({"name": name, **about}).encode())
    return name


def _fit(task: Task, workers: int, *, gpu: bool) -> None:
    """Run the workers to the end of training, restarting them where one is lost."""
    filesystem, path = open_filesystem(join(task.out, "ray"))
    trainer = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config={"task": task},
        scaling_config=ScalingConfig(
            num_workers=(1, workers) if workers > 1 else workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": cpus_per_worker(workers), **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            # Where to go on from is told by our own checkpoints: they count at once, in one piece.
            name=f"{task.name}-{uuid.uuid4().hex[:8]}",
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
            worker_runtime_env={"env_vars": ALLOCATOR},
        ),
    )
    try:
        failure = trainer.fit().return_value
    except SystemExit as end:  # so Ray Train ends the process upon Ctrl-C, without a word
        raise KeyboardInterrupt from end
    except ray.train.TrainingFailedError as error:
        raise RunError(_reason(error)) from error
    if failure:
        raise RunError(failure)


def _reason(error: ray.train.TrainingFailedError) -> str:
    """Return the last line of what went wrong first."""
    failures = list(getattr(error, "worker_failures", {}).values())
    lines = str(failures[0] if failures else error).strip().splitlines()
    return f"training failed {MOST_FAILURES + 1} times; the last time: {lines[-1] if lines else error!r}"


def _train_worker(config: dict[str, Any]) -> str | None:
    """One worker's whole life: network, data, loop, checkpoints; returns why training must not be tried again."""
    hush_workers()
    try:
        _train(config["task"])
    except Diverged as error:  # whatever only one worker meets must end it, or the others wait for it
        return str(error)
    return None


def _train(task: Task) -> None:
    recipe = task.recipe
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, _cores() // context.get_local_world_size()))
    else:
        torch.cuda.set_device(device)  # objects that workers exchange travel by way of the current one
    say(f"worker {rank + 1} of {world} on {device}, {torch.get_num_threads()} threads")
    state = _begin(task, device, world)
    plan = replace(task.plan, rank=rank, world=world, epoch=state.epoch, step=state.step)
    feed = Feed(plan, _tables(plan), recipe, device)
    keeper = _Keeper(task, plan.steps) if rank == 0 else None
    if keeper and state.epoch < recipe.epochs:
        keeper.save(state)  # what this node can't write must not wait for the first epoch to end

    def on_epoch(metrics: dict[str, float], state: TrainState) -> None:
        if keeper:
            keeper.on_epoch(metrics, state)
        ray.train.report(metrics)

    host = Host(size=world, add_up=_add_up, gather=_gather)
    if keeper:
        host = replace(host, due=keeper.due, save=keeper.save, on_step=keeper.journal.on_step)
    run_epochs(state, recipe, feed.train, feed.val, on_epoch=on_epoch, host=host)


def _cores() -> int:
    """Return how many cores this process may use; a scheduler may have pinned it to fewer than there are."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _begin(task: Task, device: torch.device, world: int) -> TrainState:
    """Return the state of the last checkpoint, or the first one."""
    torch.manual_seed(task.recipe.seed)
    model = build_autoencoder(task.recipe.network).to(device)
    saved = task.checkpoints.last()
    if saved is None:
        initialise(model, task.recipe, task.data)
        if world > 1:  # two kinds of machine may round differently
            for tensor in model.state_dict().values():
                torch.distributed.broadcast(tensor, 0)
    state = start_state(model, task.recipe, steps_per_epoch=task.plan.steps)
    if saved is not None:
        state.load_checkpoint(saved)
        say(f"going on from epoch {state.epoch + 1}, step {state.step} of {task.plan.steps}")
    return state


def _tables(plan: Plan) -> Iterator[pa.Table]:
    if plan.chunks():
        yield from plan_dataset(plan).iter_batches(batch_size=None, batch_format="pyarrow")


def _add_up(total: torch.Tensor) -> None:
    torch.distributed.all_reduce(total)


def _gather(values: list[Any]) -> list[Any]:
    """Return every worker's list, joined in rank order."""
    if not torch.distributed.is_initialized():
        return values
    everyone: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(everyone, values)
    return [value for part in everyone for value in part]


class _Keeper:
    """Keeps what is worth keeping, on worker 0: checkpoints, the journal."""

    def __init__(self, task: Task, steps: int) -> None:
        self.checkpoints = task.checkpoints
        self.every_s = task.recipe.checkpoint_seconds
        self.journal = Journal(task.out, task.recipe.epochs, steps)
        self.saved = time.monotonic()

    def due(self) -> bool:
        """Return whether a crash would now cost more than one interval."""
        return time.monotonic() - self.saved >= self.every_s

    def save(self, state: TrainState) -> None:
        """Keep the state to go on from, and what the journal has to say until then."""
        self.checkpoints.save_last(state)
        self.saved = time.monotonic()
        self.journal.flush(state)

    def on_epoch(self, metrics: dict[str, float], state: TrainState) -> None:
        """Keep the weights if they are the best so far, then the state that knows of them."""
        self.journal.on_epoch(metrics, state)
        if best_epoch(state.history) == state.epoch:
            self.checkpoints.save_best(state)
        self.save(state)
