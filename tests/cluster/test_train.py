"""Training that is disturbed: whoever is killed, the curve is that of the undisturbed run, which is the bare loop's.

The real job on some twenty crystals, a checkpoint after every step.
"""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from dataclasses import replace
from typing import IO

import pytest
import torch

from rhoray.core.errors import DatasetError, RunError
from rhoray.core.storage import find, join, read_bytes
from rhoray.local.processes import descendants, title
from rhoray.models.autoencoder import build_autoencoder
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.train.autoencoder import prepare, train_autoencoder
from rhoray.train.checkpoints import checkpoints_of
from rhoray.train.feed import Feed
from rhoray.train.loop import run_epochs, start_state
from rhoray.train.outcome import best_epoch, initialise
from rhoray.train.recipes import get_recipe

pytestmark = pytest.mark.cluster
# Its errors are far above rounding from the first epoch on, so that curves which differ show it.
RECIPE = replace(get_recipe("patch", epochs=4), checkpoint_seconds=0.0)
FLAGS = ["--recipe", "patch", "--epochs", "4", "--checkpoint-seconds", "0"]
TIMES = {"volumes_per_second", "data_wait_seconds", "epoch_seconds"}
# Ray runs its workers behind everything else on the machine, other tests included.
PATIENCE_S = 240


@pytest.fixture(scope="module")
def data(cluster, bucket) -> str:
    uri = f"{bucket}/densities/twenty"
    ingest(IngestConfig(source="sample:", out=uri, limit=26))
    return uri


def curve(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in history]


def last_numbers(line: str) -> tuple[int, int]:
    """Return epoch and step of a line that says where training goes on."""
    epoch, step = re.search(r"epoch (\d+), step (\d+)", line).groups()
    return int(epoch), int(step)


def unheard(metrics, state):
    """Nobody listens."""


@pytest.fixture(scope="module")
def bare(data, bucket) -> list[dict]:
    """The curve of the loop alone, without Ray Train and without Ray Data."""
    task = prepare(read_manifest(data), f"{bucket}/runs/bare", RECIPE, 1, resume=False)
    torch.manual_seed(RECIPE.seed)
    model = build_autoencoder(RECIPE.network)
    initialise(model, RECIPE, data)
    state = start_state(model, RECIPE, steps_per_epoch=task.plan.steps)
    feed = Feed(task.plan, (task.plan.read(chunk) for chunk in task.plan.chunks()), RECIPE, torch.device("cpu"))
    run_epochs(state, RECIPE, feed.train, feed.val, on_epoch=unheard)
    return curve(state.history)


def wait_for(out: str, epoch: int) -> tuple[int, int]:
    """Wait until a run's last checkpoint is of the middle of an epoch, or later; return its epoch and step."""
    deadline = time.monotonic() + PATIENCE_S
    found = (-1, 0)
    while found < (epoch, 1):
        assert time.monotonic() < deadline, found
        time.sleep(0.1)  # reading a checkpoint takes time from those who train
        with contextlib.suppress(FileNotFoundError, TypeError):  # no run yet, or no checkpoint
            name = json.loads(read_bytes(join(out, "run.json")))["name"]
            last = checkpoints_of(out, name).last()
            found = (last["epoch"], last["step"])
    return found


def job(root, data: str, out: str, log: IO[str], *flags: str) -> subprocess.Popen:
    command = [sys.executable, str(root / "jobs" / "train_ae.py"), "--data", data, "--out", out, *FLAGS, *flags]
    return subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT)


def test_kills_cost_nothing_but_time(data, bare, bucket, root, tmp_path):
    """A worker is killed and replaced, then the job itself, which is resumed; two workers follow the bare loop."""
    out = f"{bucket}/runs/killed"
    with (tmp_path / "log").open("w") as log:
        process = job(root, data, out, log)
    try:
        reached = wait_for(out, 1)
        workers = [pid for pid in descendants(os.getpid()) if "RayTrainWorker" in title(pid)]
        os.kill(workers[-1], signal.SIGKILL)
        again = wait_for(out, reached[0] + 1)
    finally:
        process.kill()
        process.wait()
    assert (1, 0) < reached < again < (RECIPE.epochs, 0)
    with pytest.raises(DatasetError, match="unfinished run"):
        train_autoencoder(data, out, RECIPE, workers=2)
    with pytest.raises(DatasetError, match="another recipe"):
        train_autoencoder(data, out, replace(RECIPE, seed=1), workers=2, resume=True)
    with (tmp_path / "resumed").open("w") as log:
        assert job(root, data, out, log, "--resume").wait(PATIENCE_S) == 0
    lines = (tmp_path / "resumed").read_text().splitlines()
    # Nothing that was in a checkpoint is done twice.
    began = next(line for line in lines if "going on from" in line)
    assert last_numbers(began) >= (again[0] + 1, again[1])
    summary = json.loads(lines[-1])
    found = curve([json.loads(line) for line in read_bytes(join(out, "metrics.jsonl")).splitlines()])
    for alone, pair in zip(bare, found, strict=True):
        # Sums over two workers round otherwise, and every step builds on the one before: 2e-4 after 15 steps. An
        # electron count is a sum of float32 numbers: its error is known to a part in a million.
        assert pair == pytest.approx(alone, rel=1e-3, abs=1e-6)
    assert summary["epochs"] == RECIPE.epochs
    best = bare[best_epoch(bare) - 1]
    assert summary["val_density_error_median"] == pytest.approx(best["val_density_error_median"], rel=1e-3)
    names = {stat.uri.rsplit("/", 1)[1] for stat in find(out)}
    assert {"curves.png", "reconstruction.png", "last.pt", "best.pt", "run.json"} <= names
    # One file of events for each of the three times that training began.
    assert 1 <= sum(name.startswith("events.out.tfevents") for name in names) <= 3


def test_a_loss_that_breaks_ends_both_workers_with_one_line(data, bucket):
    wild = replace(RECIPE, learning_rate=1e30, core_rate=1.0, clip_norm=0.0)
    with pytest.raises(RunError, match=r"^loss is (nan|inf) in epoch 1 at \['mp-\d+'.*\] \(step \d\)$"):
        train_autoencoder(data, f"{bucket}/runs/wild", wild, workers=2)
