"""Machines die, storage fails, clocks disagree: does every job end with the result of an undisturbed run?

A head without CPUs and three worker nodes of one CPU each on this machine, an S3 server behind a proxy that can
refuse, delay and drop requests, and the real jobs, each a process of its own. First the whole main job undisturbed;
then, fault by fault, one job while something breaks at a random moment. What it wrote is compared byte by byte
(training: the curve), after a rerun where the job gave up. A job that outlives its deadline counts as hung. Last, the
endpoint on three nodes of which one is lost while clients ask (node-serving).

    python benchmarks/bench_chaos.py --work /tmp/chaos                  all of it, and the table
    python benchmarks/bench_chaos.py --work /tmp/chaos --only node-ingest head-ingest
    python benchmarks/bench_chaos.py --work /tmp/chaos --table          the table alone

Rows are kept in the work folder as they come; what is there already is not run again unless it is named.
"""

import argparse
import contextlib
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import _chaos_serving
from _chaos_jobs import JOBS, Compare, undisturbed, write_source
from _cluster import Job, Nodes, nodes
from _faults import FAULTS, Fault, World
from _results import write_result
from _s3_proxy import faulty_storage
from s3fs import S3FileSystem

from rhoray.core.storage import exists
from rhoray.local.object_store import object_store

BUCKET = "chaos"
SERVING = "node-serving"
NAMES = (*FAULTS, SERVING)
WORKERS = 3
EXTRA_S = 150.0  # what a job may take longer than undisturbed, before it counts as hung
FIRST_S = 240.0


def known(work: Path, name: str) -> dict[str, Any]:
    """Return what a file of the work folder holds, by name."""
    path = work / name
    return json.loads(path.read_text()) if path.exists() else {}


def keep(work: Path, name: str, key: str, value: dict[str, Any]) -> None:
    """Add to a file of the work folder."""
    (work / name).write_text(json.dumps({**known(work, name), key: value}, indent=1))


@contextlib.contextmanager
def world(work: Path, fault: Fault | None = None) -> Iterator[World]:
    """Run the storage and the cluster inside the block."""
    with object_store(work / "s3", BUCKET) as store, faulty_storage(store) as proxy, contextlib.ExitStack() as stack:
        os.environ.update(proxy.environment)
        S3FileSystem.clear_instance_cache()  # it knows the proxy of the fault before
        settings = stack.enter_context(fault.settings()) if fault else {}
        if not exists(f"s3://{BUCKET}/labels.csv"):
            write_source()
        yield World(stack.enter_context(nodes(WORKERS, **settings)), proxy, work)


def run_undisturbed(work: Path, wanted: set[str]) -> None:
    """Run the jobs that have not been run yet, one after the other, up to the last that is wanted."""
    order = list(JOBS)
    needed = order[: 1 + max(order.index(name) for name in wanted)]
    missing = [name for name in needed if name not in known(work, "undisturbed.json")]
    if not missing:
        return
    with world(work) as here:
        for name in missing:
            kind = JOBS[name]
            job = Job(kind.command(undisturbed(name)), work / f"undisturbed-{name}.log", FIRST_S, here.nodes.address)
            begun = _begun(here.nodes, job, kind.work) if kind.work else 0.0
            assert job.wait() == 0, job.last_line()
            found = {"seconds": job.seconds, "begun": begun, "summary": job.summary()}
            keep(work, "undisturbed.json", name, found)
            print(f"undisturbed {name}: {job.seconds:.0f} s, workers after {begun:.0f} s", flush=True)


def _begun(cluster: Nodes, job: Job, work: str) -> float:
    while job.running() and not cluster.busy(work):
        time.sleep(0.05)
    return job.seconds


def disturb(work: Path, fault: Fault) -> dict[str, Any]:
    """Run a job under a fault, again if it gives up, and compare; return the row of the table."""
    kind, quiet = JOBS[fault.job], known(work, "undisturbed.json")[fault.job]
    deadline = quiet["seconds"] + EXTRA_S
    out = f"s3://{BUCKET}/{fault.name}-{time.time_ns()}/{kind.name}" + (".csv" if kind.name == "predict" else "")
    span = quiet["seconds"] - quiet["begun"]
    log = work / f"{fault.name}.log"
    with world(work, fault) as here:
        job = Job(kind.command(out), log, deadline, here.nodes.address, **fault.job_options(here))
        told = fault.strike(here, job, kind.work, span)
        status = job.wait()
        fault.mend(here)
        row = {"fault": fault.name, "job": kind.name, "undisturbed_s": quiet["seconds"], "seconds": job.seconds}
        row |= {"exit": status, "told": told, "said": "" if status == 0 else job.last_line(), "rerun": None}
        if status != 0:
            again = Job(kind.command(out, again=True), work / f"{fault.name}-again.log", deadline, here.nodes.address)
            row |= {"rerun": again.wait(), "rerun_s": again.seconds, "rerun_said": again.last_line()}
        row["difference"] = _difference(kind.same, undisturbed(fault.job), out)
    return row


def _difference(same: Compare, expected: str, out: str) -> str:
    try:
        return same(expected, out)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it belongs into the table
        return f"{type(error).__name__}: {error}"


def outcome(row: dict[str, Any]) -> str:
    """Return a row's outcome in words."""
    if "outcome" in row:
        return str(row["outcome"])
    if -9 in (row["exit"], row["rerun"]) and "driver" not in row["told"]:
        return "HUNG"
    if row["exit"] and row["rerun"]:
        return f"FAILED TWICE: {row['rerun_said'][:120]}"
    if row["difference"]:
        return f"DIFFERENT: {row['difference']}"
    if row["exit"] == 0:
        return "same result"
    return f"gave up; the rerun ({row['rerun_s']:.0f} s) has the same result"


def write_table(work: Path) -> None:
    """Write the result of all rows that there are."""
    rows, quiet = known(work, "rows.json"), known(work, "undisturbed.json")
    alone = ", ".join(f"{name} {found['seconds']:.0f} s" for name, found in quiet.items())
    lines = [
        f"Undisturbed: {alone}.",
        "",
        "| what breaks | job | when | seconds (undisturbed) | outcome | what the job said |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    what = {**{name: fault.what for name, fault in FAULTS.items()}, SERVING: _chaos_serving.WHAT}
    for name in NAMES:
        if name in rows:
            row = rows[name]
            said = row["said"].replace("|", "/")[:220]
            seconds = f"{row['seconds']:.0f}" + (f" ({row['undisturbed_s']:.0f})" if row["undisturbed_s"] else "")
            lines.append(f"| {what[name]} | {row['job']} | {row['told']} | {seconds} | {outcome(row)} | {said} |")
    missing = [name for name in NAMES if name not in rows]
    lines += ["", f"Not run: {', '.join(missing)}." if missing else "Every fault was run.", ""]
    write_result("chaos", "Under fire", "\n".join(lines), ("ray", "torch", "lightgbm", "s3fs"))


def main() -> None:
    """Run what is asked for and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder that keeps storage, logs and rows")
    parser.add_argument("--only", nargs="+", choices=NAMES, help="these faults, also where they were run before")
    parser.add_argument("--undisturbed", action="store_true", help="the undisturbed run alone")
    parser.add_argument("--table", action="store_true", help="write the table of what was run before")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if not args.table:
        chosen = [] if args.undisturbed else args.only or [n for n in NAMES if n not in known(args.work, "rows.json")]
        if wanted := set(JOBS) if args.undisturbed else {FAULTS[name].job for name in chosen if name in FAULTS}:
            run_undisturbed(args.work, wanted)
        for name in chosen:
            row = disturb(args.work, FAULTS[name]) if name in FAULTS else _chaos_serving.lose_node()
            keep(args.work, "rows.json", name, row)
            print(name, outcome(row), json.dumps(row), flush=True)
    if not (args.only or args.undisturbed):
        write_table(args.work)


if __name__ == "__main__":
    main()
