"""From the bytes of a file to a density: work for a thread, wherever it runs.

A light file costs less to read than to send to another process, so the ingress reads it itself. All others go to a
Parser.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from time import perf_counter
from typing import TypeVar

from rhoray.core.errors import TooLarge
from rhoray.density.decompress import decompress
from rhoray.density.read import read_density
from rhoray.density.sniff import Format, sniff
from rhoray.store.codec import to_compact
from serve.messages import Parsed

Result = TypeVar("Result")

# Of numbers in text, plain: read within some 20 ms.
LIGHT_BYTES = 4 * 2**20
# Free atoms are superposed for the others, which takes as long as the cell is large.
LIGHT_FORMATS: set[Format] = {"chgcar", "chgcar-json", "cube"}


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

    async def parse_light(self, content: bytes, *, keep_given: bool = False) -> Parsed | None:
        """Return the density in a file that is light, and None for one that a process of its own should read.

        Raises:
            InputRefused: it is light, and one of the children of this error says what is wrong with it.
        """
        if len(content) > LIGHT_BYTES:
            return None
        return await self.run(lambda: parse_light(content, limit=self._limit, keep_given=keep_given))

    async def run(self, work: Callable[[], Result]) -> Result:
        """Return the result of other work on files, done in the same threads."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


def parse(content: bytes, *, limit: int, keep_given: bool = False) -> Parsed:
    """Return the density in a file, and on request the one on its own grid."""
    start = perf_counter()
    given = read_density(content, limit=limit)
    density = to_compact(given)
    return Parsed(density, perf_counter() - start, given if keep_given else None)


def parse_light(content: bytes, *, limit: int, keep_given: bool = False) -> Parsed | None:
    """Return the density in a file that is light, and None for any other."""
    try:
        plain = decompress(content, limit=min(limit, LIGHT_BYTES))
    except TooLarge:
        return None
    return parse(plain, limit=limit, keep_given=keep_given) if sniff(plain) in LIGHT_FORMATS else None
