"""One model call for several densities, such that a refused one does not spoil its batch."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from rhoray.core.errors import InputRefused

Item = TypeVar("Item")
Result = TypeVar("Result")


def each_or_refusal(
    work: Callable[[Sequence[Item]], Sequence[Result]], items: Sequence[Item]
) -> list[Result | InputRefused]:
    """Return what `work` makes of each item, or why it refuses that one.

    Args:
        work: takes a batch and returns one result an item, in order; raises InputRefused when one
            of them can't be used.
        items: the batch.
    """
    try:
        return list(work(items))
    except InputRefused as refusal:
        if len(items) == 1:
            return [refusal]
    return [result for item in items for result in each_or_refusal(work, [item])]


def result_or_raise(result: Result | InputRefused) -> Result:
    """Return one entry of each_or_refusal, or raise it."""
    if isinstance(result, InputRefused):
        raise result
    return result
