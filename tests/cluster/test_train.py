"""Training that is disturbed: whoever is killed, the curve is that of the undisturbed run, which is the bare loop's.

A network of width 8, sixteen crystals, a checkpoint after every step; the workers' arithmetic is the real one.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest
import torch

from rhoray.core.errors import DatasetError, RunError
from rhoray.core.storage import find, join, read_bytes
from rhoray.local.processes import descendants, title
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.train.autoencoder import prepare, train_autoencoder
from rhoray.train.checkpoints import checkpoints_of
from rhoray.train.feed import Feed
from rhoray.train.loop import run_epochs, start_state
from rhoray.train.outcome import initialise
from rhoray.train.recipes import Recipe

pytestmark = pytest.mark.cluster
RECIPE = Recipe(
    name="patch", network=AutoencoderConfig(width=8, depth=1), epochs=6, batch_size=6, basis_crystals=4,
    warmup_steps=2, augment=True, checkpoint_seconds=0.0,
)  # fmt: skip
TIMES = {"volumes_per_second", "data_wait_seconds", "epoch_seconds"}
PATIENCE_S = 90


@pytest.fixture(scope="module")
def data(cluster, bucket) -> str:
    uri = f"{bucket}/densities/sixteen"
    ingest(IngestConfig(source="sample:", out=uri, limit=22))
    return uri


def curve(history: list[dict]) -> list[dict]:
    return [{name: value for name, value in epoch.items() if name not in TIMES} for epoch in history]


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
        time.sleep(0.02)
        with contextlib.suppress(FileNotFoundError, TypeError):  # no run yet, or no checkpoint
            name = json.loads(read_bytes(join(out, "run.json")))["name"]
            last = checkpoints_of(out, name).last()
            found = (last["epoch"], last["step"])
    return found


def test_kills_cost_nothing_but_time(data, bare, bucket, root, tmp_path):
    """A worker is killed and replaced, then the driver, which is gone on from; two workers follow the bare loop."""
    out = f"{bucket}/runs/killed"
    script = tmp_path / "drive.py"
    script.write_text(
        "from rhoray.models.autoencoder import AutoencoderConfig\n"
        "from rhoray.pipeline.cluster import connect\n"
        "from rhoray.train.autoencoder import train_autoencoder\n"
        "from rhoray.train.recipes import Recipe\n"
        f"with connect(): train_autoencoder({data!r}, {out!r}, {RECIPE!r}, workers=2)\n"
    )
    path = f"{root / 'platform'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, str(script)], stdout=log, stderr=log, env={**os.environ, "PYTHONPATH": path}
        )
    reached = wait_for(out, 1)
    workers = [pid for pid in descendants(os.getpid()) if "RayTrainWorker" in title(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    again = wait_for(out, reached[0] + 1)
    process.kill()
    process.wait()
    assert (1, 0) < reached < again < (RECIPE.epochs, 0)
    with pytest.raises(DatasetError, match="unfinished run"):
        train_autoencoder(data, out, RECIPE, workers=2)
    with pytest.raises(DatasetError, match="another recipe"):
        train_autoencoder(data, out, replace(RECIPE, seed=1), workers=2, resume=True)
    assert train_autoencoder(data, out, RECIPE, workers=2, resume=True)["epochs"] == RECIPE.epochs
    found = curve([json.loads(line) for line in read_bytes(join(out, "metrics.jsonl")).splitlines()])
    for alone, pair in zip(bare, found, strict=True):
        # An electron count is a sum of float32 numbers: its error is known to a part in a million.
        assert pair == pytest.approx(alone, rel=1e-3, abs=1e-6)
        # Sums over two workers round otherwise, and every step builds on the one before: 1e-5 after 18 steps.
        assert pair["train_loss"] == pytest.approx(alone["train_loss"], rel=1e-4)
    names = {stat.uri.rsplit("/", 1)[1] for stat in find(out)}
    assert {"curves.png", "reconstruction.png", "last.pt", "best.pt", "run.json"} <= names
    # One file of events for each of the three times that training began.
    assert 1 <= sum(name.startswith("events.out.tfevents") for name in names) <= 3


def test_a_loss_that_breaks_ends_both_workers_with_one_line(data, bucket):
    wild = replace(RECIPE, learning_rate=1e30, core_rate=1.0, clip_norm=0.0)
    with pytest.raises(RunError, match=r"^loss is (nan|inf) in epoch 1 at \['mp-\d+'.*\] \(step \d\)$"):
        train_autoencoder(data, f"{bucket}/runs/wild", wild, workers=2)
