"""How fast the endpoint answers over HTTP, and whether it stays as it is: Ray Serve and its clients on one machine.

    python benchmarks/bench_serve.py                 # latency by stage, throughput against the bare Predictor
    python benchmarks/bench_serve.py --soak 600      # ten minutes at a steady rate: errors, latency, memory

Both use the packaged bundle. CHGCARs are densities of the sample on grids of 128^3 (38 MB) and 40^3 points.
"""

import argparse
import http.client
import json
import os
import statistics
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np
import psutil
import ray
from _results import write_result
from ray import serve

from rhoray.command.serve import NODE
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.resample import fourier_resample
from rhoray.density.vasp import write_chgcar
from rhoray.inference.predictor import Predictor, read_input
from rhoray.local.ports import free_port
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density
from serve.app import build
from serve.settings import ServeSettings

CLIENTS = 16
SETTLING_SECONDS = 40
SERVE_PROCESSES = (
    "ServeReplica:rhoray:Api",
    "ServeReplica:rhoray:Parser",
    "ServeReplica:rhoray:Encoder",
    "ServeReplica:rhoray:Regressor",
    "ProxyActor",
    "ServeController",
)
STAGES = ("upload", "parse", "encode", "predict", "total")
PACKAGES = ("ray", "fastapi", "uvicorn", "torch", "numpy")
BOUNDARY = "rhoray"
HEADERS = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}


def densities() -> list[ChargeDensity]:
    """Return sixteen small crystals of the sample."""
    rows = [row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri)]
    rows.sort(key=lambda row: (len(row["species"]), row["material_id"]))
    return [row_density(row) for row in rows[:: len(rows) // CLIENTS][:CLIENTS]]


def chgcar(density: ChargeDensity, points: int) -> bytes:
    """Return a CHGCAR of a density resampled to points^3."""
    values = fourier_resample(density.values, (points,) * 3)
    density = ChargeDensity(values, density.lattice, density.species, density.frac_coords, density.kind)
    return write_chgcar(density).encode()


def form(content: bytes) -> bytes:
    """Return the body of a multipart request with one file."""
    head = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="CHGCAR"\r\n\r\n'
    return head.encode() + content + f"\r\n--{BOUNDARY}--\r\n".encode()


class Client:
    """One connection that is kept."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)

    def post(self, body: bytes, path: str = "/v1/predict") -> tuple[int, bytes, float]:
        """Return status, answer and seconds."""
        start = time.perf_counter()
        self._connection.request("POST", path, body, HEADERS)
        response = self._connection.getresponse()
        content = response.read()
        return response.status, content, time.perf_counter() - start


@contextmanager
def endpoint() -> Iterator[int]:
    """The packaged bundle on a Ray of this machine; gives the port."""
    port = free_port()
    os.environ.update(NODE)
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(ServeSettings()), name="rhoray", route_prefix="/")
    try:
        yield port
    finally:
        serve.shutdown()
        ray.shutdown()


def latency(port: int, body: bytes, repeats: int) -> dict[str, float]:
    """Return the median seconds of each stage, of what is between them, and of the whole as the client sees it."""
    client, rows = Client(port), []
    for _ in range(repeats + 2):
        status, content, seconds = client.post(body)
        if status != 200:
            raise RuntimeError(f"{status}: {content[:300]!r}")
        rows.append({**json.loads(content)["seconds"], "client": seconds})
    rows = rows[2:]  # the first ones find cold caches
    median = {stage: statistics.median(row[stage] for row in rows) for stage in (*STAGES, "client")}
    median["p95"] = float(np.quantile([row["client"] for row in rows], 0.95))
    return median


def latency_table(rows: dict[str, dict[str, float]], targets: dict[str, float]) -> list[str]:
    """Return Markdown lines."""
    lines = ["| file | upload | parse | encode | predict | waits, transfers | total | client, median | p95 | wanted |"]
    lines.append("| --- " * 10 + "|")
    for name, row in rows.items():
        between = row["total"] - sum(row[s] for s in STAGES[:-1])
        cells = [*(row[s] for s in STAGES[:-1]), between, row["total"], row["client"], row["p95"]]
        lines.append(f"| {name} | " + " | ".join(f"{c:.3f}" for c in cells) + f" | {targets[name]:.1f} |")
    return lines


def bare_rate(contents: list[bytes], seconds: float) -> float:
    """Return files a second that one Predictor answers, one file after the other."""
    predictor, count = Predictor.load("pretrained:"), 0
    predictor([read_input(contents[0])])
    start = time.perf_counter()
    while time.perf_counter() - start < seconds:
        predictor([read_input(contents[count % len(contents)])])
        count += 1
    return count / (time.perf_counter() - start)


def bare_rate_of_two(contents: list[bytes], seconds: float) -> float:
    """Return what two processes of one thread each reach together: all that the machine can do without HTTP."""
    work = ray.remote(num_cpus=1)(bare_rate)
    return sum(ray.get([work.remote(contents, seconds) for _ in range(2)]))


def served_rate(port: int, bodies: list[bytes], seconds: float) -> tuple[float, list[float], dict[int, int]]:
    """Return answers a second to CLIENTS at once, their latencies, and how often which status came."""
    stop, lock = time.perf_counter() + seconds, threading.Lock()
    taken: list[float] = []
    statuses: dict[int, int] = {}

    def run(number: int) -> None:
        client, turn = Client(port), number
        while time.perf_counter() < stop:
            status, _, took = client.post(bodies[turn % len(bodies)])
            turn += 1
            with lock:
                statuses[status] = statuses.get(status, 0) + 1
                if status == 200:
                    taken.append(took)

    start = time.perf_counter()
    with ThreadPoolExecutor(CLIENTS) as pool:
        list(pool.map(run, range(CLIENTS)))
    return len(taken) / (time.perf_counter() - start), taken, statuses


def processes() -> dict[str, psutil.Process]:
    """Return the processes of this benchmark by name: those of Serve, of Ray, and this one with the clients."""
    found = {"clients": psutil.Process()}
    for process in psutil.Process().children(recursive=True):
        try:
            title = " ".join(process.cmdline())
        except psutil.Error:
            continue
        name = next((n for n in SERVE_PROCESSES if n in title), "")
        if name:
            found[f"{name.rsplit(':', 1)[-1]} {process.pid}"] = process
        elif "raylet" in title or "gcs_server" in title:
            found[f"{Path(title.split()[0]).name} {process.pid}"] = process
    return found


def memory() -> dict[str, tuple[float, float]]:
    """Return the MiB of every process that are its own, and those that it shares.

    The object store is shared memory: a process that writes bodies into it seems to grow until it has touched every
    page of it once, though there is only one store.
    """
    found = {name: process.memory_info() for name, process in processes().items()}
    return {name: ((m.rss - m.shared) / 2**20, m.shared / 2**20) for name, m in found.items()}


def cpu_seconds() -> dict[str, float]:
    """Return the CPU seconds that every process has used."""
    times = {name: process.cpu_times() for name, process in processes().items()}
    return {name: t.user + t.system for name, t in times.items()}


def busy_seconds() -> tuple[float, float]:
    """Return the CPU seconds that the machine has worked, and those of this benchmark with all its processes."""
    machine = psutil.cpu_times()
    ours = 0.0
    for process in (psutil.Process(), *psutil.Process().children(recursive=True)):
        with suppress(psutil.Error):
            ours += sum(process.cpu_times()[:2])
    return sum(machine) - machine.idle - machine.iowait - machine.guest - machine.guest_nice, ours


def speed() -> None:
    """Measure latency and throughput, and write the result."""
    crystals = densities()
    small = [chgcar(d, 40) for d in crystals]
    bodies = [form(c) for c in small]
    large = chgcar(crystals[0], 128)
    one = bare_rate(small, 10)
    with endpoint() as port:
        names = {f"128^3, {len(large) / 1e6:.0f} MB": 1.0, f"40^3, {len(small[0]) / 1e6:.1f} MB": 0.2}
        rows = dict(zip(names, (latency(port, form(large), 12), latency(port, bodies[0], 40)), strict=True))
        served_rate(port, bodies, SETTLING_SECONDS)
        before, busy = cpu_seconds(), busy_seconds()
        rate, taken, statuses = served_rate(port, bodies, 25)
        machine, ours = (end - start for end, start in zip(busy_seconds(), busy, strict=True))
        spent = {name: 1000 * (end - before.get(name, 0.0)) / len(taken) for name, end in cpu_seconds().items()}
    ray.init(address="local", num_cpus=2, include_dashboard=False, logging_level="ERROR")
    two = bare_rate_of_two(small, 10)
    ray.shutdown()
    lines = ["## Latency, one client, seconds", "", *latency_table(rows, names), ""]
    lines += [f"## Throughput, {CLIENTS} clients, sixteen CHGCARs of 40^3 points", ""]
    lines += ["| who | files/s | of one Predictor |", "| --- | --- | --- |"]
    lines += [f"| one Predictor in one process, file by file | {one:.1f} | 100 % |"]
    lines += [f"| two processes, one core each, no HTTP | {two:.1f} | {100 * two / one:.0f} % |"]
    lines += [f"| endpoint, its clients on the same cores | {rate:.1f} | {100 * rate / one:.0f} % (wanted: 70 %) |", ""]
    p50, p95 = np.quantile(taken, [0.5, 0.95])
    lines += [f"After {SETTLING_SECONDS} s of the same load, in which Serve adds the replicas that it calls for.", ""]
    lines += [f"Latency under this load: median {p50:.2f} s, p95 {p95:.2f} s. Answers by status: {statuses}."]
    costs = ", ".join(f"{name.split()[0]} {ms:.0f}" for name, ms in sorted(spent.items(), key=lambda c: -c[1]))
    lines += ["", f"CPU milliseconds an answer: {costs}."]
    strangers = 100 * max(0.0, machine - ours) / machine
    lines += ["", f"Of the machine's CPU seconds in these 25 s, {strangers:.0f} % went to other programs."]
    title = "The endpoint: latency by stage, throughput"
    write_result("serve", title, "\n".join(lines) + "\n", PACKAGES)


def soak(seconds: float, rate: float) -> None:
    """Send small files at a steady rate, and every twentieth time the large one; write what became of memory."""
    crystals = densities()
    bodies = [form(chgcar(d, 40)) for d in crystals]
    large = form(chgcar(crystals[0], 128))
    samples: list[tuple[float, dict[str, tuple[float, float]]]] = []
    taken, bad, count = [], [], 0
    with endpoint() as port:
        client, start = Client(port), time.perf_counter()
        due = next_sample = start
        while time.perf_counter() - start < seconds:
            status, content, took = client.post(large if count % 20 == 19 else bodies[count % len(bodies)])
            count += 1
            taken.append((time.perf_counter() - start, took))
            if status != 200:
                bad.append(f"{status} {content[:200]!r}")
            if time.perf_counter() >= next_sample:
                samples.append((time.perf_counter() - start, memory()))
                next_sample += 10
            due += 1 / rate
            time.sleep(max(0.0, due - time.perf_counter()))
    write_result("serve-soak", f"The endpoint for {seconds:.0f} s", _soaked(samples, taken, bad), PACKAGES)


def _soaked(
    samples: list[tuple[float, dict[str, tuple[float, float]]]], taken: list[tuple[float, float]], bad: list[str]
) -> str:
    end = taken[-1][0]
    marks = [(f"{100 * share:.0f} %", end * share) for share in (0.1, 0.25, 0.5, 0.75, 1.0)]
    lines = [f"{len(taken)} requests, every twentieth of 38 MB; errors: {len(bad)} {bad[:3] or ''}", ""]
    for kind, title in enumerate(("its own", "shared with others: libraries and the object store")):
        lines += [f"Resident MiB of each process, {title}, at this share of the time:", ""]
        lines += ["| process | " + " | ".join(name for name, _ in marks) + " | highest | MiB an hour, last half |"]
        lines += ["| --- " * (len(marks) + 3) + "|"]
        for process in samples[-1][1]:
            series = [(t, m[process][kind]) for t, m in samples if process in m]
            at = [min(series, key=lambda s, w=when: abs(s[0] - w))[1] for _, when in marks]
            late = np.array([s for s in series if s[0] > end / 2])
            slope = 3600 * np.polyfit(late[:, 0], late[:, 1], 1)[0] if len(late) > 2 else float("nan")
            cells = [*(f"{v:.0f}" for v in at), f"{max(m for _, m in series):.0f}", f"{slope:+.0f}"]
            lines.append(f"| {process.split()[0]} | " + " | ".join(cells) + " |")
        lines.append("")
    halves = [[s for t, s in taken if (t > end / 2) is late] for late in (False, True)]
    medians = ", ".join(f"{statistics.median(half):.3f}" for half in halves)
    return "\n".join([*lines, "", f"Median latency of the first and of the second half: {medians} s.", ""])


def main() -> None:
    """Measure what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--soak", type=float, default=0.0, help="seconds of steady load instead")
    parser.add_argument("--rate", type=float, default=2.0, help="requests a second of the soak")
    args = parser.parse_args()
    if args.soak:
        soak(args.soak, args.rate)
    else:
        speed()


if __name__ == "__main__":
    main()
