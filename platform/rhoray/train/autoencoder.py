"""Train the autoencoder on Ray Train: data-parallel workers, fed by a streaming split of a Ray Dataset.

The run's folder holds `autoencoder.safetensors` and `.json` (the best epoch), `metrics.jsonl`, a picture, and Ray's
own checkpoints below `ray/`. `run.json` names the run that `--resume` continues.
"""

import json
import logging
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.fs
import ray.train
import ray.train.torch
import torch
from ray.train import CheckpointConfig, DataConfig, FailureConfig, RunConfig, ScalingConfig

import rhoray
from rhoray.core.errors import DatasetError, ResourceError
from rhoray.core.storage import exists, join, normalise, open_filesystem, read_bytes, write_bytes
from rhoray.evaluate.plots import reconstruction_figure
from rhoray.models.autoencoder import (
    Autoencoder,
    PatchAutoencoder,
    build_autoencoder,
    count_parameters,
    patch_components,
    patch_moment,
)
from rhoray.models.encoder_files import WEIGHTS, autoencoder_files, load_autoencoder
from rhoray.models.frames import encode_densities, frames_tensor
from rhoray.pipeline.batches import density_dataset, frames_of, shuffled_rows
from rhoray.pipeline.cluster import cpus_per_worker, hush_workers
from rhoray.store.manifest import Manifest, read_manifest
from rhoray.store.shards import read_shard, row_density
from rhoray.train.loop import Batch, TrainState, run_epochs, start_state
from rhoray.train.recipes import Recipe

logger = logging.getLogger(__name__)

RUN = "run.json"
CHECKPOINT = "state.pt"
SCORE = "val_density_error_median"
MOST_FAILURES = 3
SPEAK_EVERY_S = 10.0
BATCH_FORMAT = "pyarrow"


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
        DatasetError: no dataset, too few densities, or nothing to resume.
        ResourceError: the cluster has no room for the workers.
    """
    started = time.monotonic()
    out, data = normalise(out), normalise(data)  # a worker's folder is another one
    manifest = read_manifest(data)
    counts = manifest.written.split.value_counts()
    if counts.get("train", 0) < workers or counts.get("val", 0) < 1:
        raise DatasetError(
            f"{data}: splits {counts.to_dict()}, expected train and val crystals; "
            "more densities, or a column `split` in the label table, give both"
        )
    recipe = _fit_batch(recipe, int(counts["train"]), workers)
    name = _run_name(out, recipe, resume=resume)
    config = {
        "recipe": recipe,
        "data": data,
        "workers": workers,
        "train_count": int(counts["train"]),
        "shuffled_rows": shuffled_rows(manifest),
    }
    filesystem, path = open_filesystem(join(out, "ray"))
    result = ray.train.torch.TorchTrainer(
        _train_worker,
        train_loop_config=config,
        scaling_config=ScalingConfig(
            num_workers=workers,
            use_gpu=gpu,
            resources_per_worker={"CPU": cpus_per_worker(workers), **({"GPU": 1} if gpu else {})},
        ),
        run_config=RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=pyarrow.fs.PyFileSystem(pyarrow.fs.FSSpecHandler(filesystem)),
            failure_config=FailureConfig(max_failures=MOST_FAILURES),
            checkpoint_config=CheckpointConfig(
                num_to_keep=2, checkpoint_score_attribute=SCORE, checkpoint_score_order="min"
            ),
        ),
        datasets={
            "train": density_dataset(manifest, "train", seed=recipe.seed),
            "val": density_dataset(manifest, "val"),
        },
        dataset_config=DataConfig(datasets_to_split=["train"]),
    ).fit()
    best = _best_state(result)
    summary = _summarise(recipe, best, started, out)
    _write(out, recipe, best, manifest, summary)
    return summary


def _fit_batch(recipe: Recipe, count: int, workers: int) -> Recipe:
    """Return the recipe with a batch that every worker can fill: on ten crystals one of eight is too many."""
    share = min(recipe.batch_size, count) // workers
    if share < 1:
        raise ResourceError(f"batches of {recipe.batch_size} can't be shared by {workers} workers")
    return replace(recipe, batch_size=share * workers)


def _run_name(out: str, recipe: Recipe, *, resume: bool) -> str:
    """Return the run to continue, or a new one; Ray continues whatever bears the same name."""
    if resume:
        try:
            run = json.loads(read_bytes(join(out, RUN)))
        except FileNotFoundError as error:
            raise DatasetError(f"{out}: no run to resume, start one without --resume") from error
        if run["recipe"] != json.loads(json.dumps(asdict(recipe))):
            raise DatasetError(f"{out}: that run has another recipe, expected the flags it was started with")
        return run["name"]
    if exists(join(out, RUN)) and not exists(join(out, WEIGHTS)):
        raise DatasetError(f"{out} holds an unfinished run: go on with --resume, or choose another --out")
    name = f"{recipe.name}-{uuid.uuid4().hex[:8]}"
    write_bytes(join(out, RUN), json.dumps({"name": name, "recipe": asdict(recipe)}).encode())
    return name


def _train_worker(config: dict[str, Any]) -> None:
    """One worker's whole life: network, data, loop, checkpoints."""
    hush_workers()
    recipe: Recipe = config["recipe"]
    context = ray.train.get_context()
    rank, world = context.get_world_rank(), context.get_world_size()
    device = ray.train.torch.get_device()
    if device.type == "cpu":
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // context.get_local_world_size()))
    _say(f"worker {rank + 1} of {world} on {device}, {torch.get_num_threads()} threads")
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(recipe.network).to(device)
    checkpoint = ray.train.get_checkpoint()
    if checkpoint is None:
        _initialise(model, recipe, config["data"])
    forward = ray.train.torch.prepare_model(model)
    steps = config["train_count"] // recipe.batch_size
    state = start_state(model, recipe, steps_per_epoch=steps, forward=forward)
    if checkpoint is not None:
        with checkpoint.as_directory() as folder:
            saved = torch.load(Path(folder) / CHECKPOINT, map_location=device, weights_only=True)
        state.load_checkpoint(saved)

    reporter = _Reporter(rank, recipe, steps)

    def train(epoch: int) -> Iterator[Batch]:
        shard = ray.train.get_dataset_shard("train")
        tables = shard.iter_batches(
            batch_size=recipe.batch_size // world,
            batch_format=BATCH_FORMAT,
            local_shuffle_buffer_size=config["shuffled_rows"],
            local_shuffle_seed=recipe.seed + epoch,
            drop_last=True,
        )
        return reporter.follow(_batches(tables, recipe, device), epoch)

    def val(epoch: int) -> Iterator[Batch]:
        del epoch
        shard = ray.train.get_dataset_shard("val")
        tables = shard.iter_batches(batch_size=1, batch_format=BATCH_FORMAT)
        own = (table for index, table in enumerate(tables) if index % world == rank)
        return _batches(own, recipe, device)

    run_epochs(state, recipe, train, val, on_epoch=reporter, gather=_gather)


def _say(line: str) -> None:
    """Speak to whoever reads the job's log; Ray forwards a worker's standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _batches(tables: Iterable[pa.Table], recipe: Recipe, device: torch.device) -> Iterator[Batch]:
    for ids, frames in frames_of(tables, recipe.frame, device):
        yield Batch(ids, frames)


def _initialise(model: Autoencoder, recipe: Recipe, data: str) -> None:
    """Give a patch network its linear start; every worker computes the same from the same crystals."""
    if not isinstance(model, PatchAutoencoder):
        return
    manifest = read_manifest(data)
    train = manifest.written[manifest.written.split == "train"]
    wanted = set(train.material_id[: recipe.basis_crystals])
    shards = dict.fromkeys(join(manifest.uri, s) for s in train.shard[: recipe.basis_crystals])
    rows = (r for uri in shards for r in read_shard(uri) if r["material_id"] in wanted)
    moments = (patch_moment(frames_tensor([row_density(row)], recipe.frame)) for row in rows)
    total = torch.stack(list(_running_sum(moments)))[-1]
    model.set_basis(patch_components(total).to(next(model.parameters()).device))


def _running_sum(moments: Iterator[torch.Tensor]) -> Iterator[torch.Tensor]:
    total = next(moments)
    for moment in moments:
        total += moment
    yield total


def _gather(values: list[Any]) -> list[Any]:
    """Return every worker's list, joined in rank order."""
    if not torch.distributed.is_initialized():
        return values
    everyone: list[list[Any]] = [[] for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather_object(everyone, values)
    return [value for part in everyone for value in part]


class _Reporter:
    """Says how far training is, and commits a checkpoint after each epoch; all from rank 0."""

    def __init__(self, rank: int, recipe: Recipe, steps: int) -> None:
        self.rank = rank
        self.recipe = recipe
        self.steps = steps
        self.spoke = time.monotonic()

    def follow(self, batches: Iterator[Batch], epoch: int) -> Iterator[Batch]:
        """Pass batches on, and say now and then how far the epoch is."""
        for step, batch in enumerate(batches):
            if not self.rank and time.monotonic() - self.spoke > SPEAK_EVERY_S:
                self.spoke = time.monotonic()
                _say(f"epoch {epoch + 1}/{self.recipe.epochs}: step {step}/{self.steps}")
            yield batch

    def __call__(self, metrics: dict[str, float], state: TrainState) -> None:
        if self.rank:
            ray.train.report(metrics)
            return
        _say(
            f"epoch {state.epoch}/{self.recipe.epochs}: density error "
            f"{100 * metrics[SCORE]:.3f} % median, {100 * metrics['val_density_error_worst']:.3f} % worst; "
            f"{metrics['volumes_per_second']:.1f} volumes/s"
        )
        with tempfile.TemporaryDirectory() as folder:
            torch.save(state.to_checkpoint(), Path(folder) / CHECKPOINT)
            ray.train.report(
                metrics,
                checkpoint=ray.train.Checkpoint.from_directory(folder),
                checkpoint_dir_name=f"epoch_{state.epoch:05d}",
            )


def _best_state(result: ray.train.Result) -> dict[str, Any]:
    """Return the checkpoint with the smallest validation error, and the whole history beside it."""
    found = [(metrics[SCORE], checkpoint) for checkpoint, metrics in result.best_checkpoints or []]
    if not found:
        raise DatasetError("training reported no checkpoint")
    states = []
    for _, checkpoint in sorted(found, key=lambda pair: pair[0]):
        with checkpoint.as_directory() as folder:
            states.append(torch.load(Path(folder) / CHECKPOINT, map_location="cpu", weights_only=True))
    history = max((state["history"] for state in states), key=len)
    return {**states[0], "history": history}


def _summarise(recipe: Recipe, best: dict[str, Any], started: float, out: str) -> dict[str, Any]:
    metrics = best["history"][best["epoch"] - 1]
    rates = [epoch["volumes_per_second"] for epoch in best["history"]]
    return {
        "recipe": recipe.name,
        "parameters": count_parameters(build_autoencoder(recipe.network)),
        "epochs": len(best["history"]),
        "best_epoch": best["epoch"],
        "volumes_per_second": round(float(np.median(rates)), 2),
        **{name: metrics[name] for name in metrics if name.startswith("val_")},
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
    }


def _write(out: str, recipe: Recipe, best: dict[str, Any], manifest: Manifest, summary: dict[str, Any]) -> None:
    model = build_autoencoder(recipe.network)
    model.load_state_dict(best["model"])
    seen = manifest.written[manifest.written.split.isin(["train", "val"])]
    facts = {
        "recipe": asdict(recipe),
        "metrics": {k: v for k, v in summary.items() if k not in ("seconds", "out")},
        "data": manifest.uri,
        "training_formulas": sorted(set(seen.formula)),
        "code": rhoray.__version__,
    }
    files = autoencoder_files(model, recipe.network, recipe.frame, facts)
    lines = "".join(json.dumps(epoch) + "\n" for epoch in best["history"])
    write_bytes(join(out, "metrics.jsonl"), lines.encode())
    trained = load_autoencoder(files)
    held = manifest.written[manifest.written.split == "val"].iloc[0]
    row = next(r for r in read_shard(join(manifest.uri, held.shard)) if r["material_id"] == held.material_id)
    density = row_density(row)
    with torch.inference_mode():
        latent = torch.from_numpy(encode_densities(trained, [density]))
        found = trained.model.decode(latent)[0, 0].numpy()
    expected = frames_tensor([density], recipe.frame)[0, 0].numpy()
    picture = reconstruction_figure(expected, found, f"{held.formula} ({held.material_id})")
    write_bytes(join(out, "reconstruction.png"), picture)
    for name, content in files.items():
        write_bytes(join(out, name), content)
