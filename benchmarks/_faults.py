"""What breaks in the chaos benchmark, and when."""

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _cluster import Job, Nodes
from _s3_proxy import FaultyStorage

from rhoray.local.ports import HOST, free_port

MOST_OF_A_RUN = 0.7
CUT_S = 30.0
GIB = 2**30


@dataclass
class World:
    """Where a job runs.

    Attributes:
        nodes: the cluster.
        storage: the proxy before the S3 server.
        work: folder for logs.
        random: of the moments; seeded by the clock, for each run is to try another one.
    """

    nodes: Nodes
    storage: FaultyStorage
    work: Path
    random: np.random.Generator = field(default_factory=np.random.default_rng)

    def moment(self, span: float) -> float:
        """Return a random moment of a job's work, in seconds after its workers began."""
        return float(self.random.uniform(0, MOST_OF_A_RUN * span))


Strike = Callable[[World, Job, str, float], str]
Settings = Callable[[], contextlib.AbstractContextManager[dict[str, str]]]


@contextlib.contextmanager
def _plain() -> Iterator[dict[str, str]]:
    yield {}


@dataclass(frozen=True)
class Fault:
    """Something that breaks.

    Attributes:
        name: of its row.
        what: in words.
        job: that it meets.
        strike: makes it happen while the job runs; returns when it did.
        settings: variables that the cluster needs for it.
        mend: before a rerun.
        job_options: of the job's process.
    """

    name: str
    what: str
    job: str
    strike: Strike
    settings: Settings = _plain
    mend: Callable[[World], Any] = lambda world: world.storage.set()
    job_options: Callable[[World], dict[str, Any]] = lambda world: {}  # noqa: ARG005


def _working(world: World, job: Job, work: str, wait_s: float) -> dict[Any, list[int]]:
    """Wait until the job's workers have begun and so many seconds are over; return them by node."""
    while job.running() and not world.nodes.busy(work):
        time.sleep(0.05)
    time.sleep(wait_s)
    busy: dict[Any, list[int]] = {}
    while job.running() and not (busy := world.nodes.busy(work)):
        time.sleep(0.02)
    return busy


def kill_node(world: World, job: Job, work: str, span: float) -> str:
    """Lose a node that works for the job; no other comes."""
    moment = world.moment(span)
    busy = _working(world, job, work, moment)
    if not busy:
        return "too late: the job had ended"
    world.nodes.kill(list(busy)[int(world.random.integers(len(busy)))])
    return f"{moment:.1f} s after its workers began"


@contextlib.contextmanager
def _redis() -> Iterator[dict[str, str]]:
    """Run a Redis for the head's memory."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = ["redis-server", "--port", str(port), "--bind", HOST, "--dir", folder, "--save", ""]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            time.sleep(1)
            yield {"RAY_REDIS_ADDRESS": f"{HOST}:{port}"}
        finally:
            process.terminate()
            process.wait()


def restart_gcs(world: World, job: Job, work: str, span: float) -> str:
    """Kill the head's control service, and start it again three seconds later: it finds its memory in Redis."""
    moment = world.moment(span)
    _working(world, job, work, moment)
    head = world.nodes.cluster.head_node
    head.kill_gcs_server(check_alive=False)
    time.sleep(3)
    head.start_gcs_server()
    return f"{moment:.1f} s after its workers began, for 3 s"


def lose_head(world: World, job: Job, work: str, span: float) -> str:
    """Kill the head with everything on it, the job's driver included; a new head takes its address and memory."""
    moment = world.moment(span)
    _working(world, job, work, moment)
    world.nodes.lose_head(job.process.pid)
    job.process.wait()
    world.nodes.new_head()
    return f"{moment:.1f} s after its workers began, with its driver"


def refuse(world: World, job: Job, work: str, span: float) -> str:
    """Answer 503 to every tenth request, from the first one on."""
    del work, span
    before = world.storage.counts()
    world.storage.set(refuse=0.1)
    job.wait()
    counts = world.storage.counts() - before
    return f"always: {counts['refused']} of {_requests(counts)} requests"


def slow(world: World, job: Job, work: str, span: float) -> str:
    """Take 0.3 s longer for every answer."""
    del work, span
    before = world.storage.counts()
    world.storage.set(delay_s=0.3)
    job.wait()
    return f"always: {_requests(world.storage.counts() - before)} requests"


def _requests(counts: dict[str, int]) -> int:
    return sum(n for method, n in counts.items() if method.isupper())


def cut(world: World, job: Job, work: str, span: float) -> str:
    """Drop every connection for half a minute."""
    moment = world.moment(span)
    _working(world, job, work, moment)
    world.storage.set(cut=True)
    time.sleep(CUT_S)
    world.storage.set()
    return f"{moment:.1f} s after its workers began, for {CUT_S:.0f} s"


def _script(world: World, name: str, code: str, **environment: str) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        stdout=(world.work / f"{name}.log").open("w"),
        stderr=subprocess.STDOUT,
    )


FILL = """
import numpy, ray, time
ray.init(log_to_driver=False)
@ray.remote(num_cpus=0, scheduling_strategy="SPREAD")
def fill():
    return [ray.put(numpy.zeros(20 * 2**20, numpy.uint8)) for _ in range(8)]
kept = ray.get([fill.remote() for _ in range(6)])
print("filled", flush=True)
time.sleep(600)
"""


def fill_store(world: World, job: Job, work: str, span: float) -> str:
    """Let somebody else put 1 GB into object stores of 100 MB each: Ray has to spill while the job runs."""
    del work, span
    other = _script(world, "fill", FILL, RAY_ADDRESS=job.address or "")
    job.wait()
    other.terminate()
    other.wait()
    filled = "filled" in (world.work / "fill.log").read_text()
    return f"always: 960 MB in stores of 100 MB, {'all of it spilt' if filled else 'still filling at the end'}"


HOG = """
import sys, time
kept = bytearray(int(sys.argv[1]))
for i in range(0, len(kept), 4096):
    kept[i] = 1
print("full", flush=True)
time.sleep(12)
"""


def _available() -> int:
    lines = dict(line.split(":") for line in Path("/proc/meminfo").read_text().splitlines())
    return int(lines["MemAvailable"].split()[0]) * 1024


def _total() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


@contextlib.contextmanager
def _watched_memory() -> Iterator[dict[str, str]]:
    """Let Ray end workers from 4 GB more than is used now."""
    share = (_total() - _available() + 4 * GIB) / _total()
    yield {"RAY_memory_usage_threshold": f"{share:.3f}", "RAY_memory_monitor_refresh_ms": "100"}


def eat_memory(world: World, job: Job, work: str, span: float) -> str:
    """Let a neighbour take 6 GB for some seconds: Ray's memory monitor kills the job's workers."""
    moment = world.moment(span)
    _working(world, job, work, moment)
    before = {pid for pids in world.nodes.busy(work).values() for pid in pids}
    hog = subprocess.Popen([sys.executable, "-c", HOG, str(6 * GIB)], stdout=subprocess.DEVNULL)
    hog.wait()
    after = {pid for pids in world.nodes.busy(work).values() for pid in pids}
    lost = len(before - after)
    return f"{moment:.1f} s after its workers began, for 12 s; {lost} of {len(before)} workers gone"


def _faketime() -> str:
    found = os.environ.get("FAKETIME_LIBRARY", "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1")
    if not Path(found).exists():
        raise FileNotFoundError(f"{found}: install libfaketime, or name it in FAKETIME_LIBRARY")
    return found


def skew(seconds: int) -> Strike:
    """Return a fault: one node's clock is ahead by so much from the start."""

    def strike(world: World, job: Job, work: str, span: float) -> str:
        del span
        node = world.nodes.add(LD_PRELOAD=_faketime(), FAKETIME=f"+{seconds}", FAKETIME_DONT_FAKE_MONOTONIC="1")
        for other in list(world.nodes.cluster.worker_nodes):
            if other is not node:
                world.nodes.kill(other)
        busy: dict[Any, list[int]] = {}
        while job.running():
            busy = busy or world.nodes.busy(work)
            time.sleep(0.1)
        return f"always: all its work on the node that is {seconds / 60:.0f} min ahead" + (
            "" if busy else " (none seen)"
        )

    return strike


def set_clocks(world: World) -> None:
    """Replace every worker node by one whose clock is right."""
    wrong = list(world.nodes.cluster.worker_nodes)
    world.nodes.add()
    for node in wrong:
        world.nodes.kill(node)


def _all() -> Iterator[Fault]:
    every = ("ingest", "train_ae", "encode", "tune_regressor", "predict")
    for job in every:
        yield Fault(f"node-{job}", "a node is lost", job, kill_node)
    for job in ("ingest", "train_ae"):
        yield Fault(
            f"gcs-{job}", "the head's control service is killed and restarted (Redis)", job, restart_gcs, _redis
        )
    yield Fault("head-ingest", "the head is lost with the driver, another takes its place (Redis)", "ingest", lose_head,
                _redis)  # fmt: skip
    for job in every:
        yield Fault(f"refuse-{job}", "S3 answers 503 to 10 % of requests", job, refuse)
    yield Fault("slow-ingest", "S3 takes 0.3 s longer for each answer", "ingest", slow)
    for job in ("ingest", "train_ae"):
        yield Fault(f"cut-{job}", f"S3 is cut off for {CUT_S:.0f} s", job, cut)
    yield Fault("full-ingest", "the object stores are full, Ray spills", "ingest", fill_store)
    yield Fault("memory-ingest", "memory runs out, Ray kills workers", "ingest", eat_memory, _watched_memory)
    for minutes in (10, 60):
        what = f"a node's clock is {minutes} min ahead; right again for a rerun"
        yield Fault(f"clock-{minutes}", what, "ingest", skew(60 * minutes), mend=set_clocks)


FAULTS = {fault.name: fault for fault in _all()}
