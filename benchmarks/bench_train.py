"""What Ray costs training: volumes a second of the bare loop, of one Ray Train worker and of two, from the same shards.

All three run one recipe on crystals of the packaged sample, read from shards on disk in the same order. The
bare loop reads them itself; the others get them through Ray Data. Each starts in a process of its own; runs take
turns. The first epoch, in which workers warm up, does not count, and neither does validation.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from _results import write_result

from rhoray.core.storage import normalise, read_bytes
from rhoray.models.autoencoder import build_autoencoder
from rhoray.pipeline.cluster import connect
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import Manifest, read_manifest, write_manifest
from rhoray.train import autoencoder, outcome
from rhoray.train.feed import Feed
from rhoray.train.loop import run_epochs, start_state
from rhoray.train.recipes import RECIPES, Recipe, get_recipe

RUNS = ("bare", "one", "two")
WORKERS = {"one": 1, "two": 2}
NAMES = {
    "bare": "bare loop, {threads} threads",
    "one": "one Ray Train worker, {threads} threads",
    "two": "two Ray Train workers, {half} each",
}


def write_data(uri: str, train: int) -> None:
    """Write so many train crystals of the sample, and eight to judge by."""
    source = read_manifest(sample_uri())
    shutil.copytree(source.uri.removeprefix("file://"), uri)
    rows = source.written
    chosen = [rows[rows.split == split].head(count) for split, count in (("train", train), ("val", 8))]
    kept = rows[rows.material_id.isin({i for part in chosen for i in part.material_id})]
    write_manifest(Manifest(normalise(uri), kept.reset_index(drop=True), source.card))


def bare(data: str, out: str, recipe: Recipe) -> list[dict[str, float]]:
    """Train without Ray."""
    torch.set_num_threads(len(os.sched_getaffinity(0)))
    task = autoencoder.prepare(read_manifest(data), normalise(out), recipe, 1, resume=False)
    torch.manual_seed(recipe.seed)
    model = build_autoencoder(recipe.network)
    outcome.initialise(model, recipe, task.data)
    state = start_state(model, recipe, steps_per_epoch=task.plan.steps)
    device = torch.device("cpu")
    feed = Feed(task.plan, (task.plan.read(chunk) for chunk in task.plan.chunks()), recipe, device)
    run_epochs(state, recipe, feed.train, feed.val, on_epoch=lambda *_: None)
    return state.history


def on_ray(data: str, out: str, recipe: Recipe, workers: int) -> list[dict[str, float]]:
    """Train on a Ray of this machine."""
    with connect():
        autoencoder.train_autoencoder(data, out, recipe, workers=workers)
    return [json.loads(line) for line in read_bytes(f"{out}/metrics.jsonl").splitlines()]


def child(run: str, data: str, out: str, recipe: Recipe) -> None:
    """Do one run and leave its history in a file."""
    history = bare(data, out, recipe) if run == "bare" else on_ray(data, out, recipe, WORKERS[run])
    Path(f"{out}.json").write_text(json.dumps(history))


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=96, help="crystals an epoch")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--recipe", choices=RECIPES, default="zones")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        child(*args.child, get_recipe(args.recipe, epochs=args.epochs))
        return
    rates: dict[str, list[float]] = {run: [] for run in RUNS}
    waits: dict[str, list[float]] = {run: [] for run in RUNS}
    losses: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        write_data(data, args.train)
        for turn in range(args.rounds):
            for run in RUNS:
                out = f"{folder}/{run}-{turn}"
                started = time.perf_counter()
                command = [sys.executable, __file__, "--epochs", str(args.epochs), "--recipe", args.recipe]
                command += ["--child", run, data, out]
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
                history = json.loads(Path(f"{out}.json").read_text())[1:]
                rates[run] += [epoch["volumes_per_second"] for epoch in history]
                waits[run] += [
                    epoch["data_wait_seconds"] * epoch["volumes_per_second"] / args.train for epoch in history
                ]
                losses[run] = history[-1]["train_loss"]
                print(run, [round(r, 2) for r in rates[run]], f"{time.perf_counter() - started:.0f} s", flush=True)
    write_table(args, rates, waits, losses)


def write_table(
    args: argparse.Namespace, rates: dict[str, list[float]], waits: dict[str, list[float]], losses: dict[str, float]
) -> None:
    """Write the result."""
    median = {run: statistics.median(found) for run, found in rates.items()}
    threads = len(os.sched_getaffinity(0))
    against = {"bare": "", "one": f"{median['one'] / median['bare']:.3f} of the bare loop",
               "two": f"{median['two'] / median['one']:.3f} of one worker"}  # fmt: skip
    rows = [
        f"| {NAMES[run].format(threads=threads, half=threads // 2)} | {median[run]:.2f} | {min(rates[run]):.2f} to "
        f"{max(rates[run]):.2f} | {100 * statistics.median(waits[run]):.1f} % | {losses[run]:.6f} | {against[run]} |"
        for run in RUNS
    ]
    head = (
        f"Recipe `{args.recipe}`, batch {get_recipe(args.recipe).batch_size}, {args.train} crystals an epoch, "
        f"{args.epochs - 1} epochs that count in each of {args.rounds} rounds."
    )
    foot = (
        "The promise: one worker at least 0.95 of the bare loop, two at least 0.9 of one. On a CPU a frame is made "
        "where the network runs, so that its time is work and not waiting. All three follow one curve: the last losses "
        "differ by rounding."
    )
    columns = "| | volumes/s, median | range over epochs | time spent reading and making frames | last loss | |"
    body = "\n".join([head, "", columns, "| --- | --- | --- | --- | --- | --- |", *rows, "", foot, ""])
    write_result(f"train-{args.recipe}", "What Ray costs training", body, ("ray", "torch", "numpy", "pyarrow"))


if __name__ == "__main__":
    main()
