"""Clients that ask again and again, in threads, for as long as a block lasts."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def at_work(count: int, work: Callable[[int, threading.Event], None]) -> Iterator[None]:
    """Run `work` in `count` threads inside the block; each gets its number, and an event that says when to stop."""
    ended = threading.Event()
    threads = [threading.Thread(target=work, args=(n, ended)) for n in range(count)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join()
