"""Training that is disturbed: whoever is killed, the curve is that of the undisturbed run, which is the bare loop's.

A network of width 8, sixteen crystals, a checkpoint after every step; the workers' arithmetic is the real one.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import torch

from rhoray.core.errors import DatasetError, RunError
from rhoray.core.storage import find, join, read_bytes
from rhoray.local.processes import descendants, title
from rhoray.models.autoencoder import AutoencoderConfig
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.train import autoencoder
from rhoray.train.autoencoder import train_autoencoder
from rhoray.train.checkpoints import checkpoints_of
from rhoray.train.feed import Feed
from rhoray.train.loop import run_epochs, start_state
from rhoray.train.recipes import Recipe

pytestmark = pytest.mark.cluster
RECIPE = Recipe(
    name="patch", network=AutoencoderConfig(width=8, depth=1), epochs=4, batch_size=6, basis_crystals=4,
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


def curve_at(out: str) -> list[dict]:
    return curve([json.loads(line) for line in read_bytes(join(out, "metrics.jsonl")).splitlines()])


@pytest.fixture(scope="module")
def undisturbed(data, bucket) -> list[dict]:
    out = f"{bucket}/runs/undisturbed"
    train_autoencoder(data, out, RECIPE, workers=2)
    return curve_at(out)


def position(out: str) -> tuple[int, int]:
    """Return epoch and step of a run's last checkpoint."""
    try:
        name = json.loads(read_bytes(join(out, "run.json")))["name"]
    except FileNotFoundError:
        return (-1, 0)
    last = checkpoints_of(out, name).last()
    return (-1, 0) if last is None else (last["epoch"], last["step"])


def wait_for(out: str, epoch: int) -> tuple[int, int]:
    """Wait until a run is in the middle of an epoch."""
    deadline = time.monotonic() + PATIENCE_S
    while (found := position(out)) < (epoch, 1):
        assert time.monotonic() < deadline, found
        time.sleep(0.02)
    return found


def unheard(metrics, state):
    """Nobody listens."""


def test_two_workers_follow_the_curve_of_the_bare_loop(data, undisturbed, bucket):
    task = autoencoder.prepare(read_manifest(data), f"{bucket}/runs/bare", RECIPE, 1, resume=False)
    torch.manual_seed(RECIPE.seed)
    model = autoencoder.build_autoencoder(RECIPE.network)
    autoencoder.initialise(model, RECIPE, data)
    state = start_state(model, RECIPE, steps_per_epoch=task.plan.steps)
    feed = Feed(task.plan, (task.plan.read(chunk) for chunk in task.plan.chunks()), RECIPE, torch.device("cpu"))
    run_epochs(state, RECIPE, feed.train, feed.val, on_epoch=unheard)
    for bare, pair in zip(curve(state.history), undisturbed, strict=True):
        assert pair == pytest.approx(bare, rel=1e-3)
        assert pair["train_loss"] == pytest.approx(bare["train_loss"], rel=1e-5)


def test_a_killed_worker_costs_nothing_but_time(data, undisturbed, bucket):
    out = f"{bucket}/runs/killed-worker"
    done: list[dict] = []
    thread = threading.Thread(target=lambda: done.append(train_autoencoder(data, out, RECIPE, workers=2)))
    thread.start()
    reached = wait_for(out, 1)
    workers = [pid for pid in descendants(os.getpid()) if "RayTrainWorker" in title(pid)]
    os.kill(workers[-1], signal.SIGKILL)
    thread.join()
    assert (1, 0) < reached < (RECIPE.epochs, 0)
    assert done[0]["epochs"] == RECIPE.epochs
    assert curve_at(out) == undisturbed


def test_a_killed_driver_is_gone_on_from(data, undisturbed, bucket, root, tmp_path):
    out = f"{bucket}/runs/killed-driver"
    script = tmp_path / "drive.py"
    script.write_text(
        "from rhoray.models.autoencoder import AutoencoderConfig\n"
        "from rhoray.pipeline.cluster import connect\n"
        "from rhoray.train.autoencoder import train_autoencoder\n"
        "from rhoray.train.recipes import Recipe\n"
        f"with connect(): train_autoencoder({data!r}, {out!r}, {RECIPE!r}, workers=2)\n"
    )
    process = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": f"{root / 'platform'}{os.pathsep}{os.environ.get('PYTHONPATH', '')}"},
    )  # fmt: skip
    wait_for(out, 1)
    process.kill()
    process.wait()
    with pytest.raises(DatasetError, match="unfinished run"):
        train_autoencoder(data, out, RECIPE, workers=2)
    with pytest.raises(DatasetError, match="another recipe"):
        train_autoencoder(data, out, replace(RECIPE, seed=1), workers=2, resume=True)
    summary = train_autoencoder(data, out, RECIPE, workers=2, resume=True)
    assert summary["epochs"] == RECIPE.epochs
    assert curve_at(out) == undisturbed


def test_a_loss_that_breaks_ends_both_workers_with_one_line(data, bucket):
    wild = replace(RECIPE, learning_rate=1e30, core_rate=1.0, clip_norm=0.0)
    with pytest.raises(RunError, match=r"^loss is (nan|inf) in epoch 1 at \['mp-\d+'.*\] \(step \d\)$"):
        train_autoencoder(data, f"{bucket}/runs/wild", wild, workers=2)


def test_a_run_leaves_what_a_person_and_tensorboard_read(undisturbed, bucket):
    names = [stat.uri.rsplit("/", 1)[1] for stat in find(f"{bucket}/runs/undisturbed")]
    for name in ("curves.png", "reconstruction.png", "metrics.jsonl", "last.pt", "best.pt", "run.json"):
        assert name in names
    assert any(name.startswith("events.out.tfevents") for name in names)
