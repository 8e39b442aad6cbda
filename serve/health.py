"""Whether a replica may be trusted: real work is proof enough, and where there was none it does some."""

import asyncio
from collections.abc import Callable
from time import monotonic

# Serve asks often, to find a dead process soon; a sound one need not predict each time.
PROOF_SECONDS = 10.0
PROBE_DEADLINE_S = 20.0


class Proof:
    """The last time that a replica did what it is there for.

    Args:
        probe: the same work on a tiny crystal; raises when its result is wrong. Called in a thread.
        lasts: seconds for which work done is proof of health.
        deadline: longest seconds that the probe may take.
    """

    def __init__(
        self,
        probe: Callable[[], object],
        *,
        lasts: float = PROOF_SECONDS,
        deadline: float = PROBE_DEADLINE_S,
    ) -> None:
        self._probe = probe
        self._lasts = lasts
        self._deadline = deadline
        self._worked_at = float("-inf")

    def worked(self) -> None:
        """Note that real work went well."""
        self._worked_at = monotonic()

    def failed(self) -> None:
        """Note an error that nobody expected: the next check has to probe."""
        self._worked_at = float("-inf")

    async def check(self) -> None:
        """Return if the replica worked lately or does so now.

        Raises:
            TimeoutError: the probe did not end in time.
            Exception: whatever the probe raised.
        """
        if monotonic() - self._worked_at < self._lasts:
            return
        async with asyncio.timeout(self._deadline):
            await asyncio.to_thread(self._probe)
        self.worked()
