"""How one process works on many crystals: beside one another on the cores of a CPU, all at once on a GPU.

Threads that share one crystal wait for each other at the end of every operation, hundreds of times a step, and
whatever else runs on the machine makes each of those waits longer. With crystals of its own a thread waits once a step.
"""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch

# Crystals that a thread works on at once. Alone on one thread, torch would leave a convolution to slower code.
SHARE = 2
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Cores:
    """Threads that take shares of a batch; without any, one share is the whole batch.

    Attributes:
        pool: the threads.
    """

    pool: ThreadPoolExecutor | None

    def shares(self, count: int) -> list[slice]:
        """Return how so many crystals are dealt out: the same however many cores there are."""
        size = SHARE if self.pool else max(1, count)
        return [slice(first, first + size) for first in range(0, count, size)]

    def map(self, function: Callable[[slice], T], shares: Sequence[slice]) -> list[T]:
        """Return what a function makes of each share, in their order; its error is raised here."""
        return list((self.pool.map if self.pool else map)(function, shares))


@contextmanager
def cores_of(device: torch.device, crystals: int) -> Iterator[Cores]:
    """Own this process's cores inside the block: as many threads as a batch of so many crystals can use."""
    if device.type != "cpu":
        yield Cores(None)
        return
    total = torch.get_num_threads()
    count = max(1, min(total, -(-crystals // SHARE)))
    pool = ThreadPoolExecutor(count, initializer=torch.set_num_threads, initargs=(total // count,))
    try:
        yield Cores(pool)
    finally:
        pool.shutdown(cancel_futures=True)
        torch.set_num_threads(total)  # for some libraries the number is one for all threads
