"""What Ray costs training: volumes a second of the bare loop, of one Ray Train worker and of two, from the same shards.

All of them run one recipe on crystals of the packaged sample, read from shards on disk in the same order. The
bare loop reads them itself, in a process with the memory settings that training workers get; the others get them
through Ray Data. Each has processes of its own and they take turns, an epoch each, while those of the others stand
still. The first epoch, in which workers warm up, does not count, and neither does validation.
"""

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path

import torch
from _results import write_result
from _turns import Turn, run_in_turns

from rhoray.core.storage import normalise, read_bytes
from rhoray.models.autoencoder import build_autoencoder
from rhoray.pipeline.cluster import connect
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import Manifest, read_manifest, write_manifest
from rhoray.train import autoencoder, outcome
from rhoray.train.allocator import ALLOCATOR
from rhoray.train.feed import Feed
from rhoray.train.loop import run_epochs, start_state
from rhoray.train.recipes import RECIPES, Recipe, get_recipe

RUNS = ("bare", "one", "two")
ALL_RUNS = ("plain", *RUNS)
WORKERS = {"one": 1, "two": 2}
COMPARED = {"plain": "bare", "one": "bare", "two": "one"}
NAMES = {
    "plain": "bare loop, {threads} threads, memory managed by default",
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
    history = on_ray(data, out, recipe, WORKERS[run]) if run in WORKERS else bare(data, out, recipe)
    Path(f"{out}.json").write_text(json.dumps(history))


def keep_turns(turn: Turn) -> None:
    """Let training in this process, and in those of its Ray workers, wait for its turn before each epoch."""
    turn.take()
    work = autoencoder._train_worker  # noqa: SLF001 - nothing but a benchmark tells a worker when to work

    def work_in_turn(config: dict) -> str | None:
        turn.take()
        return work(config)

    autoencoder._train_worker = work_in_turn  # noqa: SLF001


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--train", type=int, default=160, help="crystals an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    parser.add_argument("--recipe", choices=RECIPES, default="zones")
    parser.add_argument("--rounds", type=int, default=1, help="times that all of them start anew")
    parser.add_argument("--runs", nargs="+", choices=ALL_RUNS, default=RUNS, help="`plain` is without memory settings")
    parser.add_argument("--keep", type=Path, metavar="FILE", help="add to the rounds of earlier calls, kept here")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    parser.add_argument("--turn", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.turn:
        keep_turns(Turn(Path(args.turn[0]), int(args.turn[1]), int(args.turn[2])))
    if args.child:
        child(*args.child, get_recipe(args.recipe, epochs=args.epochs))
        return
    rounds = json.loads(args.keep.read_text()) if args.keep and args.keep.exists() else []
    for _ in range(args.rounds):
        rounds.append(measure(args))
        print({run: round(rate(epochs), 2) for run, epochs in rounds[-1].items()}, flush=True)
        if args.keep:
            args.keep.write_text(json.dumps(rounds))
    write_table(args, rounds)


def measure(args: argparse.Namespace) -> dict[str, list[dict[str, float]]]:
    """Let all runs take turns once; return of each the epochs that count."""
    with tempfile.TemporaryDirectory() as folder:
        write_data(f"{folder}/data", args.train)

        def start(run: str, turn: Turn) -> subprocess.Popen:
            flags = ["--epochs", str(args.epochs), "--recipe", args.recipe]
            place = ["--turn", str(turn.file), str(turn.place), str(turn.of)]
            return subprocess.Popen(
                [sys.executable, __file__, *flags, *place, "--child", run, f"{folder}/data", f"{folder}/{run}"],
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                # Ray would make its workers nicer than everybody else on the machine.
                env={**os.environ, "RAY_worker_niceness": "0", **(ALLOCATOR if run == "bare" else {})},
            )  # fmt: skip

        run_in_turns(Path(folder, "turn"), [partial(start, run) for run in args.runs], args.epochs)
        histories = {run: json.loads(Path(folder, f"{run}.json").read_text()) for run in args.runs}
    return {run: [{"volumes": args.train, **epoch} for epoch in history[1:]] for run, history in histories.items()}


def seconds(epoch: dict[str, float]) -> float:
    """Return how long training took in an epoch."""
    return epoch["volumes"] / epoch["volumes_per_second"]


def rate(epochs: list[dict[str, float]]) -> float:
    """Return volumes a second over some epochs."""
    return sum(epoch["volumes"] for epoch in epochs) / sum(map(seconds, epochs))


def spread(values: list[float], digits: int) -> str:
    """Return median and range."""
    return f"{statistics.median(values):.{digits}f} ({min(values):.{digits}f} to {max(values):.{digits}f})"


def write_table(args: argparse.Namespace, rounds: list[dict[str, list[dict[str, float]]]]) -> None:
    """Write the result."""
    threads = len(os.sched_getaffinity(0))

    def against(run: str) -> str:
        other = COMPARED.get(run)
        if other not in rounds[0]:
            return ""
        ratios = [rate(found[run]) / rate(found[other]) for found in rounds]
        return f"{spread(ratios, 3)} of {NAMES[other].format(threads=threads)}"

    def row(run: str) -> str:
        name = NAMES[run].format(threads=threads, half=threads // 2)
        epochs = [epoch for found in rounds for epoch in found[run]]
        waiting = sum(epoch["data_wait_seconds"] for epoch in epochs) / sum(map(seconds, epochs))
        rates = spread([rate(found[run]) for found in rounds], 2)
        return f"| {name} | {rates} | {100 * waiting:.1f} % | {epochs[-1]['train_loss']:.8f} | {against(run)} |"

    rows = [row(run) for run in rounds[0]]
    lengths = {len(epochs) for found in rounds for epochs in found.values()}
    head = (
        f"Recipe `{args.recipe}`, batch {get_recipe(args.recipe).batch_size}, {args.train} crystals an epoch, "
        f"{' or '.join(map(str, sorted(lengths)))} epochs that count in each of {len(rounds)} starts. All take turns, "
        "an epoch each, every other time in reverse order, while the others stand still. Medians over the starts, and "
        "the range: starts differ more than the epochs of one do."
    )
    foot = (
        "The settings by which glibc keeps memory instead of giving it back after every step are what every training "
        "worker gets (rhoray.train.allocator). "
        "The promise: one worker at least 0.95 of the bare loop, two at least 0.9 of one. On a CPU a frame is made "
        "by the thread that wants it, so that its time is work and not waiting. All follow one curve: the last losses "
        "differ by rounding. Checkpoints and reports come between epochs, and are not in these rates."
    )
    columns = "| | volumes/s | time waiting for rows | last loss | |"
    body = "\n".join([head, "", columns, "| --- | --- | --- | --- | --- |", *rows, "", foot, ""])
    write_result(f"train-{args.recipe}", "What Ray costs training", body, ("ray", "torch", "numpy", "pyarrow"))


if __name__ == "__main__":
    main()
