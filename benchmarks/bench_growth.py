"""What a density costs as there are more of them: seconds, memory of the driver and of Ray, objects, requests to S3.

Synthetic CHGCARs of two atoms on 8^3 points go through the real ingest on two CPUs, whose workers have been warmed by
one small ingest. Requests are counted by a proxy before an S3 server, in a run of its own.

    python benchmarks/bench_growth.py --work /tmp/growth --count 1000      one size; its row is kept in the work folder
    python benchmarks/bench_growth.py --work /tmp/growth --requests 1000   count requests
    python benchmarks/bench_growth.py --work /tmp/growth --table           table and plot of all rows
"""

import argparse
import json
import os
import threading
import time
from pathlib import Path

import matplotlib as mpl
import numpy as np
from _results import write_result
from _s3_proxy import faulty_storage

from rhoray.core.storage import find, write_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.vasp import write_chgcar
from rhoray.local.object_store import object_store
from rhoray.local.processes import descendants, proportional_bytes, title
from rhoray.pipeline.cluster import connect
from rhoray.pipeline.ingest import IngestConfig, ingest

GRID = 8
WARM = 64
PLOT = Path(__file__).resolve().parents[1] / "docs" / "images" / "growth.svg"
POINTS = np.stack(np.meshgrid(*(np.arange(GRID) / GRID,) * 3, indexing="ij"))


def chgcar(index: int) -> str:
    """Return a crystal of the CsCl type whose edge tells it from all others."""
    edge = 3.0 + index * 1e-5
    waves = 1 + 0.5 * np.cos(2 * np.pi * POINTS).prod(0)
    values = 8 * waves / waves.mean() / edge**3
    return write_chgcar(
        ChargeDensity(values, np.eye(3) * edge, ("Cs", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]], dtype=float))
    )


def write_source(folder: Path, count: int) -> None:
    """Write so many files, once."""
    if folder.exists() and sum(1 for _ in os.scandir(folder)) == count:
        return
    folder.mkdir(parents=True, exist_ok=True)
    for index in range(count):
        (folder / f"m{index:07}_CHGCAR").write_text(chgcar(index))


class Memory:
    """The most memory that the driver's own pages and Ray's two services took, in MB, sampled."""

    def __init__(self) -> None:
        family = [pid for pid in descendants(os.getpid()) if pid != os.getpid()]
        self.services = {n: [p for p in family if n in title(p).split(" ")[0]] for n in ("gcs_server", "raylet")}
        self.peak = {"driver": 0.0, "gcs_server": 0.0, "raylet": 0.0}
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._sample, daemon=True)

    def _sample(self) -> None:
        tick = 0
        while not self.done.wait(0.05):
            found = {"driver": resident()}
            if tick % 40 == 0:
                found |= {name: sum(map(proportional_bytes, pids)) / 1e6 for name, pids in self.services.items()}
            tick += 1
            self.peak = {name: max(value, found.get(name, 0.0)) for name, value in self.peak.items()}

    def __enter__(self) -> "Memory":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.done.set()
        self.thread.join()


def resident() -> float:
    """Return this process's resident memory in MB, without what it shares with Ray's object store."""
    lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return sum(int(lines[name].split()[0]) for name in ("RssAnon", "RssFile")) / 1e3


def measure(work: Path, count: int) -> dict[str, float]:
    """Ingest so many; return the row of the table."""
    source, out = work / f"source-{count}", work / f"out-{count}-{time.time_ns()}"
    write_source(source, count)
    write_source(work / "warm", WARM)
    with connect(2):
        ingest(IngestConfig(source=str(work / "warm"), out=f"{out}-warm"))
        before = resident()
        with Memory() as memory:
            started = time.monotonic()
            summary = ingest(IngestConfig(source=str(source), out=str(out)))
            seconds = time.monotonic() - started
    assert summary["written"] == count, summary
    busy = sum(s["seconds"] for name, s in summary["stages"].items() if name != "list")
    return {
        "count": count, "seconds": seconds, "busy": busy, "list": summary["stages"]["list"]["seconds"],
        "before": before, **memory.peak, "objects": len(find(str(out))), "bytes": summary["bytes"],
    }  # fmt: skip


def requests(work: Path, count: int) -> dict[str, float]:
    """Ingest so many from an S3 server into it; return requests by method."""
    with object_store(work / "s3", "bench") as store, faulty_storage(store) as proxy:
        os.environ.update(store.environment)
        base = f"s3://bench/{time.time_ns()}"
        for index in range(count):
            write_bytes(f"{base}/in/m{index:07}_CHGCAR", chgcar(index).encode())
        os.environ.update(proxy.environment)
        with connect(2):
            assert ingest(IngestConfig(source=f"{base}/in", out=f"{base}/out"))["written"] == count
        return {"count": count, **proxy.counts()}


def known(path: Path) -> dict[str, dict[str, float]]:
    """Return the rows of a file, {} where there is none."""
    return json.loads(path.read_text()) if path.exists() else {}


def table(work: Path) -> None:
    """Write the table and the plot."""
    rows = sorted(known(work / "rows.json").values(), key=lambda row: row["count"])
    asked = sorted(known(work / "requests.json").values(), key=lambda row: row["count"])
    head = ("densities", "seconds", "ms each", "ms in workers", "driver before, MB", "driver at most, MB", "GCS, MB",
            "raylet, MB", "objects", "kB each")  # fmt: skip
    lines = [f"| {' | '.join(head)} |", "| --- " * len(head) + "|"]
    for r in rows:
        n = r["count"]
        lines.append(
            f"| {n:.0f} | {r['seconds']:.1f} | {1e3 * r['seconds'] / n:.2f} | {1e3 * r['busy'] / n:.2f} | "
            f"{r['before']:.0f} | {r['driver']:.0f} | {r['gcs_server']:.0f} | {r['raylet']:.0f} | {r['objects']:.0f} | "
            f"{r['bytes'] / n / 1e3:.2f} |"
        )
    counts, seconds = (np.array([r[key] for r in rows]) for key in ("count", "seconds"))
    power, _ = np.polyfit(np.log(counts), np.log([r["busy"] for r in rows]), 1)
    slope, fixed = np.polyfit(counts, seconds, 1, w=1 / seconds)
    megabytes, _ = np.polyfit(counts, [r["driver"] for r in rows], 1)
    fit = (
        f"Fit: {fixed:.1f} s + {1e3 * slope:.2f} ms each; the workers' time grows as n^{power:.3f}; the driver takes "
        f"{1e6 * megabytes / 1e3:.2f} kB more for each density."
    )
    first, last = rows[0], rows[-1]
    change = {
        "time of each": last["seconds"] / last["count"] / (first["seconds"] / first["count"]),
        "the workers' time of each": last["busy"] / last["count"] / (first["busy"] / first["count"]),
        "the driver's memory": last["driver"] / first["driver"],
    }
    changes = ", ".join(f"{what} x {factor:.3f}" for what, factor in change.items())
    lines += [
        "",
        f"From {first['count']:.0f} to {last['count']:.0f} (asked: within 10 %): {changes}.",
        "",
        fit,
        "",
        "| densities, S3 to S3 | GET | HEAD | PUT | requests each |",
        "| --- | --- | --- | --- | --- |",
    ]
    for r in asked:
        total = sum(r.get(method, 0) for method in ("GET", "HEAD", "PUT", "POST", "DELETE"))
        lines.append(f"| {r['count']} | {r['GET']} | {r['HEAD']} | {r['PUT']} | {total / r['count']:.2f} |")
    plot(rows)
    write_result("growth", "Growth of an ingest", "\n".join([*lines, ""]), ("ray", "pyarrow", "numpy", "spglib"))


def plot(rows: list[dict[str, float]]) -> None:
    """Draw time of each density and memory against their number."""
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "growth"
    from matplotlib import pyplot as plt  # noqa: PLC0415 - after the backend is chosen

    counts = [r["count"] for r in rows]
    figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3), layout="constrained")
    left.plot(counts, [1e3 * r["seconds"] / r["count"] for r in rows], "o-", label="wall")
    left.plot(counts, [1e3 * r["busy"] / r["count"] for r in rows], "s--", label="workers")
    left.set(xscale="log", xlabel="densities", ylabel="ms each", ylim=(0, None))
    for name in ("driver", "gcs_server", "raylet"):
        right.plot(counts, [r[name] for r in rows], "o-", label=name)
    right.set(xscale="log", xlabel="densities", ylabel="memory, MB", ylim=(0, None))
    for axes in (left, right):
        axes.legend(frameon=False)
    figure.savefig(PLOT, metadata={"Date": None})


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--write", type=int, help="write the files of one size")
    parser.add_argument("--count", type=int)
    parser.add_argument("--requests", type=int)
    parser.add_argument("--table", action="store_true")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    if args.write:
        write_source(args.work / f"source-{args.write}", args.write)
    for name, count, run in (("rows.json", args.count, measure), ("requests.json", args.requests, requests)):
        if count:
            row = run(args.work, count)
            (args.work / name).write_text(json.dumps({**known(args.work / name), str(count): row}, indent=1))
            print(json.dumps(row), flush=True)
    if args.table:
        table(args.work)


if __name__ == "__main__":
    main()
