"""Against what a user would write without RhoRay (the programs in plain/): same work, one machine, one run.

    python benchmarks/bench_plain.py --work /tmp/plain --write          inputs, once
    python benchmarks/bench_plain.py --work /tmp/plain --run training   DistributedDataParallel over `.npy` frames
    python benchmarks/bench_plain.py --work /tmp/plain --run ingest     a process pool over CHGCARs on a local disk
    python benchmarks/bench_plain.py --work /tmp/plain --run serving    FastAPI with one uvicorn worker
    python benchmarks/bench_plain.py --work /tmp/plain --table          the result of all three

The two sides take turns, every other round in reverse order. Parsing, compression, network, loss and model are the same
functions on both sides.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import bench_ingest
import bench_serve
import bench_train
import numpy as np
from _results import write_result

from rhoray.local.ports import free_port
from rhoray.models.frames import frames_tensor
from rhoray.pipeline.cluster import connect
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

HERE = Path(__file__).parent
CHGCARS = 200
# Names of each file, so that a run lasts long beside the start of its workers, and yet stays in memory.
NAMES = 3
CRYSTALS = 160
EPOCHS = 3
ROUNDS = {"training": 2, "ingest": 3, "serving": 1}
SERVED_SECONDS = 25
STARTED_S = 60
Row = dict[str, float]
Side = Callable[[Path], Row]


def write_inputs(work: Path) -> None:
    """Write CHGCARs of 108^3 points, a dataset to train on, and the frames of its training crystals."""
    chgcars, data, frames = (work / name for name in ("chgcars", "data", "frames"))
    for folder in (chgcars, frames):
        folder.mkdir(parents=True, exist_ok=True)
    bench_ingest.write_sample(chgcars, CHGCARS)
    for path in list(chgcars.glob("mp-*")):
        for number in range(1, NAMES):
            link = chgcars / f"{number}-{path.name}"
            link.unlink(missing_ok=True)
            link.hardlink_to(path)
    bench_train.write_data(str(data), CRYSTALS)
    manifest = read_manifest(str(data))
    wanted = set(manifest.written[manifest.written.split == "train"].material_id)
    for row in (row for uri in manifest.shards for row in read_shard(uri)):
        if row["material_id"] in wanted:
            np.save(frames / f"{row['material_id']}.npy", frames_tensor([row_density(row)], "cell").numpy()[0, 0])


def run(*command: str) -> tuple[str, float]:
    """Run a program of this Python; return what it printed and its seconds."""
    started = time.monotonic()
    # Ray would make its workers nicer than everybody else on the machine.
    environment = {**os.environ, "RAY_worker_niceness": "0"}
    done = subprocess.run(
        [sys.executable, *command], check=True, stdout=subprocess.PIPE, text=True, cwd=HERE, env=environment
    )
    return done.stdout, time.monotonic() - started


def _training_row(history: list[dict[str, float]], seconds: float) -> Row:
    counted = history[1:]  # the first epoch warms up
    spent = sum(1 / epoch["volumes_per_second"] for epoch in counted)
    return {"rate": len(counted) / spent, "loss": history[-1]["loss"], "command": seconds}


def plain_training(work: Path) -> Row:
    """Train with plain/train.py."""
    result = work / f"plain-{time.time_ns()}.json"
    _, seconds = run("plain/train.py", str(work / "frames"), str(EPOCHS), str(result))
    return _training_row(json.loads(result.read_text()), seconds)


def our_training(work: Path) -> Row:
    """Train on two Ray workers."""
    out = work / f"rhoray-{time.time_ns()}"
    given = ("--epochs", str(EPOCHS), "--recipe", "zones", "--child", "two", str(work / "data"), str(out))
    _, seconds = run("bench_train.py", *given)
    history = json.loads(Path(f"{out}.json").read_text())
    return _training_row([{**epoch, "loss": epoch["train_loss"]} for epoch in history], seconds)


def plain_ingest(work: Path) -> Row:
    """Convert with plain/ingest.py."""
    said, seconds = run("plain/ingest.py", str(work / "chgcars"), str(work / f"plain-{time.time_ns()}"), "2")
    return {"rate": NAMES * CHGCARS / float(said), "command": seconds}


def our_ingest(work: Path) -> Row:
    """Ingest on a Ray of two CPUs."""
    said, seconds = run("bench_plain.py", "--work", str(work), "--child")
    summary = json.loads(said.splitlines()[-1])
    assert summary["written"] == NAMES * CHGCARS, summary
    return {"rate": NAMES * CHGCARS / summary["seconds"], "command": seconds}


def child(work: Path) -> None:
    """Ingest in this process's own Ray."""
    with connect(2):
        found = ingest(IngestConfig(source=str(work / "chgcars"), out=str(work / f"rhoray-{time.time_ns()}")))
    print(json.dumps(found))


@contextmanager
def plain_server() -> Iterator[int]:
    """Run plain/server.py; gives the port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", "plain.server:app", "--port", str(port), "--log-level", "warning"]
    process = subprocess.Popen(command, cwd=HERE)
    try:
        deadline = time.monotonic() + STARTED_S
        while True:
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{port}/openapi.json", timeout=5).close()
                break
            except OSError:
                assert time.monotonic() < deadline, "the plain server did not come up"
                time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait()


def _served(port: int) -> Row:
    bodies = [bench_serve.form(bench_serve.chgcar(density, 40)) for density in bench_serve.densities()]
    bench_serve.served_rate(port, bodies, bench_serve.SETTLING_SECONDS)
    rate, taken, statuses = bench_serve.served_rate(port, bodies, SERVED_SECONDS)
    assert set(statuses) <= {200, 503}, statuses
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    return {"rate": rate, "p50": float(p50), "p95": float(p95), "refused": float(statuses.get(503, 0))}


def plain_serving(work: Path) -> Row:
    """Ask plain/server.py."""
    del work
    with plain_server() as port:
        return _served(port)


def our_serving(work: Path) -> Row:
    """Ask the endpoint."""
    del work
    with bench_serve.endpoint() as port:
        return _served(port)


SIDES: dict[str, tuple[Side, Side]] = {
    "training": (plain_training, our_training),
    "ingest": (plain_ingest, our_ingest),
    "serving": (plain_serving, our_serving),
}
PLAIN = {
    "training": "DistributedDataParallel (gloo), DataLoader over float32 `.npy`",
    "ingest": "process pool of two",
    "serving": "FastAPI, one uvicorn worker",
}
UNITS = {"training": "volumes/s", "ingest": "CHGCARs/s", "serving": "answers/s"}
WANTED = {"training": "asked: at least 0.95", "ingest": "asked: at least 0.95", "serving": "nothing asked"}
WORK = {
    "training": f"Recipe `zones`, {CRYSTALS} crystals an epoch, batch 8 on two processes of one thread, {EPOCHS - 1} "
    "epochs that count. The plain program reads finished frames of 8 MB, RhoRay makes them from compact shards.",
    "ingest": f"{CHGCARS} CHGCARs of 108^3 points (24 MB) under {NAMES} names each on a local disk, two processes. The "
    "clock of both includes the start of their workers; Ray itself is up by then.",
    "serving": f"{bench_serve.CLIENTS} clients without a pause, sixteen CHGCARs of 40^3 points, on the same cores.",
}
LACKS = {
    "training": (
        "goes on from a checkpoint after kill -9 of a worker or of the job (tests/cluster/test_train.py), with fewer "
        "workers when a node is lost (bench_train_elastic.py), in one order of crystals whatever the number of workers"
    ),
    "ingest": (
        "goes on after kill -9 of job, worker or storage, byte for byte (tests/cluster/test_kill.py), sets over a "
        "hundred kinds of broken files aside with a reason (tests/cluster/test_bad_input.py), uses other machines and "
        "loses them (tests/cluster/test_nodes.py)"
    ),
    "serving": (
        "loses no request when a process dies (tests/serving/test_faults.py), refuses "
        "early when overloaded, ends slow senders and bombs (tests/serving/test_abuse.py), replaces a bundle without "
        "a failed request (bench_serve_faults.py), and takes a second machine"
    ),
}


def measure(what: str, work: Path) -> list[dict[str, Row]]:
    """Let both sides take turns."""
    plain, ours = SIDES[what]
    rounds = []
    if what == "ingest":  # the first side would read the disk, the second memory
        for path in (work / "chgcars").iterdir():
            path.read_bytes()
    for number in range(ROUNDS[what]):
        order = (("plain", plain), ("rhoray", ours))
        rounds.append({name: side(work) for name, side in (order if number % 2 == 0 else order[::-1])})
        print(what, json.dumps(rounds[-1]), flush=True)
    return rounds


def table(work: Path) -> None:
    """Write the result."""
    known = json.loads((work / "rows.json").read_text())
    lines = ["| what | plain | RhoRay | RhoRay / plain | |", "| --- | --- | --- | --- | --- |"]
    for what, rounds in known.items():
        rates = [statistics.median(turn[side]["rate"] for turn in rounds) for side in ("plain", "rhoray")]
        ratios = [turn["rhoray"]["rate"] / turn["plain"]["rate"] for turn in rounds]
        spread = f"{statistics.median(ratios):.3f} ({min(ratios):.3f} to {max(ratios):.3f}, rounds: {len(ratios)})"
        lines.append(f"| {what}, {UNITS[what]} | {rates[0]:.2f} | {rates[1]:.2f} | {spread} | {WANTED[what]} |")
    for what, rounds in known.items():
        lines += [
            "",
            f"**{what.capitalize()}.** Plain: {PLAIN[what]} (`benchmarks/plain`). {WORK[what]} {_more(what, rounds)}",
        ]
        lines += [f"What the plain program can't: RhoRay {LACKS[what]}."]
    write_result(
        "plain", "Against plain programs", "\n".join([*lines, ""]), ("ray", "torch", "fastapi", "uvicorn", "pyarrow")
    )


def _more(what: str, rounds: list[dict[str, Row]]) -> str:
    def median(side: str, key: str) -> float:
        return statistics.median(turn[side][key] for turn in rounds)

    if what == "serving":
        return (
            f"Latency p50 and p95: plain {median('plain', 'p50'):.2f} and {median('plain', 'p95'):.2f} s, RhoRay "
            f"{median('rhoray', 'p50'):.2f} and {median('rhoray', 'p95'):.2f} s; refused with 503: "
            f"{median('plain', 'refused'):.0f} and {median('rhoray', 'refused'):.0f}."
        )
    return (
        f"Whole commands, start and end included: {median('plain', 'command'):.0f} s and "
        f"{median('rhoray', 'command'):.0f} s."
    )


def main() -> None:
    """Do what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    parser.add_argument("--run", choices=SIDES)
    parser.add_argument("--table", action="store_true")
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.work = args.work.resolve()
    if args.child:
        child(args.work)
    if args.write:
        write_inputs(args.work)
    if args.run:
        path = args.work / "rows.json"
        known = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**known, args.run: measure(args.run, args.work)}, indent=1))
    if args.table:
        table(args.work)


if __name__ == "__main__":
    main()
