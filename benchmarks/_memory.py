"""What processes take: peak memory of a whole family, sampled while a block runs, and CPU seconds."""

import contextlib
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rhoray.local.processes import descendants, proportional_bytes

EVERY_S = 0.3


@dataclass
class Peak:
    """The most that was seen, in 10^9 bytes."""

    gigabytes: float = 0.0


@contextlib.contextmanager
def peak_memory(pid: int) -> Iterator[Peak]:
    """Sample the memory of a process's whole family."""
    peak, done = Peak(), threading.Event()

    def sample() -> None:
        while not done.wait(EVERY_S):
            peak.gigabytes = max(peak.gigabytes, sum(map(proportional_bytes, descendants(pid))) / 1e9)

    thread = threading.Thread(target=sample, daemon=True)
    thread.start()
    try:
        yield peak
    finally:
        done.set()
        thread.join()


def cpu_seconds(pid: int) -> float:
    """Return the CPU time that a process has taken so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
