"""What another seed changes of a training run, and what kill -9 on the job does: three seeds, and a run that is killed.

The real script on crystals of the packaged sample. The run of seed 0 is killed in the middle of its second epoch and
resumed; what it ends with must differ from the undisturbed run's by less than seeds differ.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from _results import write_result
from bench_train import write_data

from rhoray.core.percent import percent

ROOT = Path(__file__).parents[1]
NAMES = ("val_density_error_median", "val_density_error_p95", "val_density_error_worst")
POLL_S = 0.05
PATIENCE_S = 120.0


def job(data: str, out: str, args: argparse.Namespace, seed: int, *flags: str) -> subprocess.Popen[str]:
    """Start the job."""
    command = [sys.executable, str(ROOT / "jobs" / "train_ae.py"), "--data", data, "--out", out, "--seed", str(seed)]
    command += ["--recipe", args.recipe, "--epochs", str(args.epochs), "--checkpoint-seconds", "2", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def summary_of(process: subprocess.Popen[str]) -> dict[str, float]:
    """Wait for a job, and return its last line."""
    said, _ = process.communicate()
    if process.returncode:
        raise RuntimeError(said)
    return json.loads(said.splitlines()[-1])


def kill_in_second_epoch(process: subprocess.Popen[str], out: str) -> None:
    """Kill the job a few steps after its first epoch, which `metrics.jsonl` tells."""
    metrics, deadline = Path(out) / "metrics.jsonl", time.monotonic() + PATIENCE_S
    while not (metrics.exists() and metrics.read_text()) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    time.sleep(3.0)
    process.kill()
    process.wait()


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--recipe", default="patch")
    parser.add_argument("--train", type=int, default=64, help="crystals an epoch")
    parser.add_argument("--epochs", type=int, default=3)
    args = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data = f"{folder}/data"
        write_data(data, args.train)
        for seed in range(3):
            found[f"seed {seed}"] = summary_of(job(data, f"{folder}/{seed}", args, seed))
        out = f"{folder}/killed"
        kill_in_second_epoch(job(data, out, args, 0), out)
        finished = len((Path(out) / "metrics.jsonl").read_text().splitlines())
        found["seed 0, killed and resumed"] = summary_of(job(data, out, args, 0, "--resume"))
    lines = ["| run | median | p95 | worst | median, all digits |", "|" + " --- |" * 5]
    lines += [
        f"| {run} | {' | '.join(percent(end[name]) for name in NAMES)} | {end[NAMES[0]]:.9g} |"
        for run, end in found.items()
    ]
    medians = [found[f"seed {seed}"][NAMES[0]] for seed in range(3)]
    off = abs(found["seed 0, killed and resumed"][NAMES[0]] - medians[0])
    head = (
        f"Recipe `{args.recipe}`, {args.train} crystals an epoch, {args.epochs} epochs, 2 workers; validation density "
        f"error at the end. The job was killed after epoch {finished} had ended and before the next had."
    )
    foot = (
        f"Seeds differ by {max(medians) - min(medians):.2g} in the median, the killed run from its twin by {off:.2g}."
    )
    write_result("train-seeds", "Seeds and kills", "\n".join([head, "", *lines, "", foot, ""]), ("ray", "torch"))


if __name__ == "__main__":
    main()
