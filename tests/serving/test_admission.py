"""A replica takes on so many requests and bytes, and gives everything back when a request ends."""

import pytest

from serve.admission import Admission
from serve.problems import Overloaded


def test_requests_are_counted_and_given_back():
    admission = Admission(max_requests=1, max_bytes=10)
    with admission.enter():
        with pytest.raises(Overloaded, match="1 requests are under way"), admission.enter():
            pass
        assert admission.requests == 1
    assert admission.requests == 0


def test_bytes_are_shared_by_all_requests():
    admission = Admission(max_requests=2, max_bytes=10)
    with admission.enter() as first, admission.enter() as second:
        first.hold(6)
        with pytest.raises(Overloaded, match="6 bytes"):
            second.hold(5)
        second.hold(4)
    assert admission.bytes == 0


def test_holding_is_a_level_not_a_sum():
    admission = Admission(max_requests=1, max_bytes=10)
    with admission.enter() as ticket:
        ticket.hold(8)
        ticket.hold(3)
        ticket.hold(8)
        assert admission.bytes == 8


def hold_too_much(ticket):
    ticket.hold(10)
    ticket.hold(11)


def test_a_failed_request_gives_back_what_it_held():
    admission = Admission(max_requests=1, max_bytes=10)
    with pytest.raises(Overloaded), admission.enter() as ticket:
        hold_too_much(ticket)
    assert (admission.requests, admission.bytes) == (0, 0)
