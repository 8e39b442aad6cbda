"""Matrix products on one thread: split between several, their sums round otherwise."""

import contextlib
import functools
import threading
from collections.abc import Iterator
from typing import Any

from threadpoolctl import OpenBLASController, ThreadpoolController

_lock = threading.Lock()
_inside: list[Any] = []  # the limit of whoever came first, and a place for each who came after


@contextlib.contextmanager
def one_blas_thread() -> Iterator[None]:
    """Keep BLAS to one thread inside the block, whoever else is in such a block at the time.

    The number is the process's: the first to come sets it, and the last to go restores it.
    """
    with _lock:
        _inside.append(None if _inside else _libraries().limit(limits=1))
    try:
        yield
    finally:
        with _lock:
            limit = _inside.pop()  # the first one's, once all others have gone
            if limit is not None:
                # OpenBLAS obeys only the thread that set its number, which may be another, until it is told.
                OpenBLASController.clear_controlling_thread(force=True)
                limit.restore_original_limits()
                OpenBLASController.clear_controlling_thread(force=True)


@functools.cache
def _libraries() -> ThreadpoolController:
    return ThreadpoolController().select(user_api="blas")
