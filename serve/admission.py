"""How much one ingress replica takes on at once; the rest is refused before it fills the memory."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from serve.problems import Overloaded


class Ticket:
    """One admitted request and the body bytes that it holds."""

    def __init__(self, admission: "Admission") -> None:
        self._admission = admission
        self.held = 0

    def hold(self, num_bytes: int) -> None:
        """Count this request with at least `num_bytes`.

        Raises:
            Overloaded: all requests together would hold more than the replica may.
        """
        more = max(num_bytes - self.held, 0)
        self._admission.take(more)
        self.held += more


class Admission:
    """Counts requests and bytes; used from one event loop, so it needs no lock."""

    def __init__(
        self,
        *,
        max_requests: int,
        max_bytes: int,
        on_change: Callable[[int, int], None] = lambda _requests, _bytes: None,
    ) -> None:
        self._max_requests = max_requests
        self._max_bytes = max_bytes
        self._on_change = on_change
        self.requests = 0
        self.bytes = 0

    @contextmanager
    def enter(self) -> Iterator[Ticket]:
        """Admit one request for the duration of the block.

        Raises:
            Overloaded: the replica works on as many as it may.
        """
        if self.requests >= self._max_requests:
            raise Overloaded(f"{self.requests} requests are under way, the most this replica takes")
        self.requests += 1
        self._on_change(self.requests, self.bytes)
        ticket = Ticket(self)
        try:
            yield ticket
        finally:
            self.requests -= 1
            self.bytes -= ticket.held
            self._on_change(self.requests, self.bytes)

    def take(self, num_bytes: int) -> None:
        """Count more bytes, or refuse them."""
        if self.bytes + num_bytes > self._max_bytes:
            raise Overloaded(f"uploads under way hold {self.bytes} bytes, the most is {self._max_bytes}")
        self.bytes += num_bytes
