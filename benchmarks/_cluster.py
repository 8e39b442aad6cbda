"""A Ray of several nodes on this machine, and jobs run on it as a user runs them: each in a process of its own.

Nothing here calls `ray stop`, which would end every Ray of the user. The nodes' environment has no PYTHONPATH unless
one is given: what workers run of RhoRay is what a job has shipped.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ray._private.node import Node
from ray.cluster_utils import Cluster

from rhoray.core.environment import variables
from rhoray.local.ports import free_port
from rhoray.local.processes import descendants, signal_all, title

ROOT = Path(__file__).resolve().parents[1]
OBJECT_STORE = 100 * 2**20
SYSTEM = {"health_check_period_ms": 1000, "health_check_timeout_ms": 1000, "health_check_failure_threshold": 3}


@dataclass
class Nodes:
    """A head without CPUs, which drivers attach to, and workers of one CPU each.

    Attributes:
        cluster: Ray's own handle.
        address: of the head.
        head_environment: variables of its processes.
        object_store_memory: bytes of each node's object store.
    """

    cluster: Cluster
    address: str
    head_environment: dict[str, str]
    object_store_memory: int = OBJECT_STORE

    def add(self, **environment: str) -> Node:
        """Start a worker node whose processes have these variables too."""
        with variables(environment):
            return self.cluster.add_node(num_cpus=1, object_store_memory=self.object_store_memory)

    def lose_head(self, driver: int) -> None:
        """End every process of the head and of a driver on it, at once."""
        self.kill(self.cluster.head_node)
        signal_all(driver, signal.SIGKILL)

    def new_head(self) -> None:
        """Start a head at the address of the one before."""
        with variables(self.head_environment):
            self.cluster.add_node(**_head(int(self.address.rpartition(":")[2]), self.object_store_memory))

    def busy(self, work: str) -> dict[Node, list[int]]:
        """Return the worker processes on each node whose titles hold `work`."""
        found = {node: [pid for pid in family(node) if work in title(pid)] for node in self.cluster.worker_nodes}
        return {node: pids for node, pids in found.items() if pids}

    def kill(self, node: Node) -> None:
        """End every process of a node at once, as a machine that loses its power does."""
        for root in roots(node):
            signal_all(root, signal.SIGKILL)
        node.kill_all_processes(check_alive=False, allow_graceful=False, wait=True)
        if node is self.cluster.head_node:
            self.cluster.head_node = None
        else:
            self.cluster.worker_nodes.remove(node)


def _head(port: int, object_store_memory: int) -> dict[str, Any]:
    return {
        "num_cpus": 0, "object_store_memory": object_store_memory, "_system_config": SYSTEM,
        "include_dashboard": False, "gcs_server_port": port,
    }  # fmt: skip


def family(node: Node) -> list[int]:
    """Return the processes of a node: Ray's own and their workers."""
    return [pid for root in roots(node) for pid in descendants(root)]


def roots(node: Node) -> list[int]:
    """Return the processes of a node that Ray started first."""
    return [info.process.pid for infos in node.all_processes.values() for info in infos]


@contextlib.contextmanager
def nodes(count: int, *, object_store_memory: int = OBJECT_STORE, **environment: str) -> Iterator[Nodes]:
    """Run a head and `count` workers inside the block, with these variables on top."""
    # Sockets' paths have to be short, and Ray writes its address there: nobody else's Ray is touched.
    with tempfile.TemporaryDirectory(prefix="rr", dir="/tmp", ignore_cleanup_errors=True) as folder:
        fixed = {"RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": folder, **environment}
        with variables({"PYTHONPATH": None, "RAY_ADDRESS": None, **fixed}):
            cluster = Cluster(initialize_head=True, head_node_args=_head(free_port(), object_store_memory))
            running = Nodes(cluster, cluster.address, dict(os.environ), object_store_memory)
            try:
                for _ in range(count):
                    running.add()
                yield running
            finally:
                for node in cluster.list_all_nodes():
                    with contextlib.suppress(Exception):
                        running.kill(node)


@dataclass
class Job:
    """A job of jobs/ in a process of its own.

    Attributes:
        arguments: its name, then its flags.
        log: file of what it prints.
        deadline_s: after which it counts as hung.
        address: of the cluster.
        root: where jobs/ lies.
        environment: on top of this process's.
    """

    arguments: list[str]
    log: Path
    deadline_s: float
    address: str | None
    root: Path = ROOT
    environment: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        environment = {**os.environ, **self.environment}
        if self.address:
            environment["RAY_ADDRESS"] = self.address
        self.started = time.monotonic()
        name, *flags = self.arguments
        self.process = subprocess.Popen(
            [sys.executable, f"jobs/{name}.py", *flags], cwd=self.root, env=environment,
            stdout=self.log.open("w"), stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self.started

    def running(self) -> bool:
        """Return whether it still runs; one beyond its deadline is ended."""
        if self.process.poll() is None and self.seconds > self.deadline_s:
            signal_all(self.process.pid, signal.SIGKILL)
            self.process.wait()
            return False
        return self.process.poll() is None

    def wait(self) -> int:
        """Return its exit status; -9 when it did not end before its deadline."""
        while self.running():
            time.sleep(0.1)
        return int(self.process.returncode)

    def summary(self) -> dict[str, Any]:
        """Return its last line, {} where that is no JSON."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.startswith("{")]
        with contextlib.suppress(IndexError, json.JSONDecodeError):
            return json.loads(lines[-1])
        return {}

    def last_line(self) -> str:
        """Return what it said last."""
        lines = [line for line in self.log.read_text(errors="replace").splitlines() if line.strip()]
        failed = [line for line in lines if line.startswith("failed")]
        return (failed or lines or [""])[-1]
