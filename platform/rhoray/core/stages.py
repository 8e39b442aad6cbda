"""Where a job's time goes: items, bytes and seconds of each stage, added up over all workers."""

import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

Summary = dict[str, dict[str, int | float]]


@dataclass(slots=True)
class Stage:
    """One stage's totals; `seconds` are those of every worker together."""

    items: int = 0
    bytes: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class Stages:
    """Counters by stage name, in the order of their first use."""

    by_name: dict[str, Stage] = field(default_factory=dict)

    @contextlib.contextmanager
    def measure(self, name: str) -> Iterator[Stage]:
        """Count one item and the time inside the block; add its bytes to what this yields."""
        stage = self.by_name.setdefault(name, Stage())
        started = time.perf_counter()
        try:
            yield stage
        finally:
            stage.items += 1
            stage.seconds += time.perf_counter() - started

    def add(self, other: Summary) -> None:
        """Add the totals of another worker, as `summary` gives them."""
        for name, found in other.items():
            stage = self.by_name.setdefault(name, Stage())
            stage.items += int(found["items"])
            stage.bytes += int(found["bytes"])
            stage.seconds += found["seconds"]

    def summary(self) -> Summary:
        """Return plain numbers, fit for JSON.

        Example:
            >>> stages = Stages()
            >>> with stages.measure("fetch") as fetched:
            ...     fetched.bytes += 12
            >>> stages.summary()["fetch"]["bytes"]
            12
        """
        return {
            name: {"items": s.items, "bytes": s.bytes, "seconds": round(s.seconds, 3)}
            for name, s in self.by_name.items()
        }
