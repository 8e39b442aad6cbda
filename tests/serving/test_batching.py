"""A refused item keeps its own reason and leaves its neighbours alone."""

import pytest

from rhoray.core.errors import Impossible
from serve.batching import each_or_refusal, result_or_raise


def doubled(batch):
    if -1 in batch:
        raise Impossible("-1 has no double")
    return [2 * n for n in batch]


def test_a_sound_batch_is_one_call():
    calls = []

    def work(batch):
        calls.append(len(batch))
        return doubled(batch)

    assert each_or_refusal(work, [1, 2, 3]) == [2, 4, 6]
    assert calls == [3]


def test_one_refused_does_not_spoil_the_batch():
    first, refused, last = each_or_refusal(doubled, [1, -1, 3])
    assert (first, last) == (2, 6)
    with pytest.raises(Impossible, match="no double"):
        result_or_raise(refused)


def test_an_unexpected_error_is_not_swallowed():
    with pytest.raises(ZeroDivisionError):
        each_or_refusal(lambda batch: [1 // n for n in batch], [1, 0])
