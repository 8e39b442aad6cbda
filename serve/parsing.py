"""From the bytes of a file to a density: work for a thread, wherever it runs."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

from rhoray.density.read import read_density
from rhoray.store.codec import to_compact
from serve.messages import Parsed

Result = TypeVar("Result")


class FileParser:
    """Parses so many files at once: each takes many times its size while it is parsed.

    Who stops waiting takes his file out of the queue; one that is being parsed already runs to its end.
    """

    def __init__(self, workers: int, *, limit: int) -> None:
        self._threads = ThreadPoolExecutor(workers, "parse")
        self._limit = limit

    async def parse(self, content: bytes, *, keep_given: bool = False) -> Parsed:
        """Return the density in a file.

        Args:
            content: the file as it was sent.
            keep_given: whether the density on its own grid is asked for, too.

        Raises:
            InputRefused: one of its children says why.
        """
        return await self.run(lambda: parse(content, limit=self._limit, keep_given=keep_given))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of other work on files, done in the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def parse(content: bytes, *, limit: int, keep_given: bool = False) -> Parsed:
    """Return the density in a file, and on request the one on its own grid."""
    start = perf_counter()
    given = read_density(content, limit=limit)
    density = to_compact(given)
    return Parsed(density, perf_counter() - start, given if keep_given else None)
