"""Processes of this machine, as Linux shows them in /proc."""

import contextlib
import os
import signal
from pathlib import Path


def descendants(pid: int) -> list[int]:
    """Return `pid` and every process that descends from it, parents first."""
    parents: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):  # it has ended meanwhile
                parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
    family = [pid]
    for known in family:  # grows while it is walked
        family += [child for child, parent in parents.items() if parent == known]
    return family


def signal_all(pid: int, number: signal.Signals) -> None:
    """Send a signal to `pid` and every process that descends from it, those included that start meanwhile."""
    reached: set[int] = set()
    while more := set(descendants(pid)) - reached:
        for member in more:
            with contextlib.suppress(ProcessLookupError):
                os.kill(member, number)
        reached |= more


def proportional_bytes(pid: int) -> int:
    """Return a process's memory, a page that n processes share counted by 1/n; 0 when it has ended."""
    with contextlib.suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    return 0


def title(pid: int) -> str:
    """Return how a process calls itself, such as `ray::Map(_make_row)`; nothing when it has ended."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ").strip()
    return ""
