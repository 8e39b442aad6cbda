"""One BLAS thread for all who are in the block, and what was before once the last has gone."""

import threading

import numpy as np  # noqa: F401 - brings a BLAS
import pytest
from threadpoolctl import OpenBLASController, ThreadpoolController

from rhoray.core.blas import one_blas_thread


def threads() -> set[int]:
    return {library["num_threads"] for library in ThreadpoolController().select(user_api="blas").info()}


@pytest.fixture(autouse=True)
def two_threads():
    with ThreadpoolController().limit(limits=2, user_api="blas"):
        OpenBLASController.clear_controlling_thread()  # so that others may set it, as in a process that never did
        yield


def test_one_inside_and_restored_after():
    with one_blas_thread():
        assert threads() == {1}
    assert threads() == {2}


def test_it_lasts_until_the_last_has_gone():
    second_is_in, first_is_out, seen = threading.Event(), threading.Event(), []

    def second():
        with one_blas_thread():
            second_is_in.set()
            first_is_out.wait(10)
            seen.append(threads())

    other = threading.Thread(target=second)
    with one_blas_thread():
        other.start()
        assert second_is_in.wait(10)
    first_is_out.set()
    other.join()
    assert seen == [{1}]
    assert threads() == {2}


def test_an_error_restores_it():
    with pytest.raises(ZeroDivisionError), one_blas_thread():
        raise ZeroDivisionError
    assert threads() == {2}
