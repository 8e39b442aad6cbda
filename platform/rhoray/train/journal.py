"""What a run says of itself while it runs: lines on the console, `metrics.jsonl`, and TensorBoard events.

Files at a URI can't grow line by line on an object store, so each is replaced whole, in one piece: what a reader
finds is complete, also after a kill.
"""

import json
import math
import sys
import tempfile
import time
from pathlib import Path

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event
from tensorboardX.summary import scalar

from rhoray.core.percent import percent
from rhoray.core.storage import join, write_bytes
from rhoray.train.loop import TrainState

METRICS = "metrics.jsonl"
TENSORBOARD = "tensorboard"
SPEAK_EVERY_S = 10.0
SCORE, TAIL = "val_density_error_median", "val_density_error_p95"


def say(line: str) -> None:
    """Speak to whoever reads the job's log; Ray forwards a worker's standard output."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


class Journal:
    """Hears of steps and epochs, on one worker; `flush` makes all of it readable at the run's URI.

    Args:
        out: the run.
        epochs: of the run.
        steps: of an epoch.
    """

    def __init__(self, out: str, epochs: int, steps: int) -> None:
        self.out = out
        self.epochs = epochs
        self.steps = steps
        self._spoke = time.monotonic()
        self._pace = Pace()
        self._folder = tempfile.TemporaryDirectory()
        # Not its SummaryWriter, whose thread writes when it likes.
        self._events = EventsWriter(f"{self._folder.name}/events")

    def on_step(self, state: TrainState, loss: float) -> None:
        """Hear of a step; say now and then how far the epoch is and how long the run will take."""
        done = state.epoch * self.steps + state.step
        self._note("step/train_loss", loss, done)
        self._pace.count(done)
        if time.monotonic() - self._spoke > SPEAK_EVERY_S:
            self._spoke = time.monotonic()
            left = self._pace.seconds_for(self.epochs * self.steps - done)
            say(
                f"epoch {state.epoch + 1}/{self.epochs}: step {state.step}/{self.steps}, loss {loss:.4g}, "
                f"{state.running.volumes / max(state.running.seconds, 1e-9):.1f} volumes/s, {clock(left)} to go"
            )

    def on_epoch(self, metrics: dict[str, float], state: TrainState) -> None:
        """Hear of an epoch."""
        say(
            f"epoch {state.epoch}/{self.epochs}: density error {percent(metrics[SCORE])} median, "
            f"{percent(metrics['val_density_error_worst'])} worst; {metrics['volumes_per_second']:.1f} volumes/s"
        )
        for name, value in metrics.items():
            self._note(f"epoch/{name}", value, state.epoch)

    def _note(self, name: str, value: float, step: int) -> None:
        self._events.write_event(Event(wall_time=time.time(), step=step, summary=scalar(name, value)))

    def flush(self, state: TrainState) -> None:
        """Write both files."""
        lines = "".join(json.dumps(epoch) + "\n" for epoch in state.history)
        write_bytes(join(self.out, METRICS), lines.encode())
        self._events.flush()
        for path in Path(self._folder.name).iterdir():
            write_bytes(join(self.out, TENSORBOARD, path.name), path.read_bytes())

    def close(self) -> None:
        """End the writing."""
        self._events.close()
        self._folder.cleanup()


class Pace:
    """How fast steps have come since this process began."""

    def __init__(self) -> None:
        self._began = time.monotonic()
        self._first: int | None = None
        self._last = 0

    def count(self, done: int) -> None:
        """Hear that so many steps of the run are done."""
        if self._first is None:
            self._first, self._began = done, time.monotonic()
        self._last = done

    def seconds_for(self, steps: int) -> float:
        """Return what so many steps will take, validation in between included as far as it has been seen."""
        seen = self._last - (self._first or 0)
        return steps * (time.monotonic() - self._began) / seen if seen else float("nan")


def clock(seconds: float) -> str:
    """Return a duration as a person says it.

    Example:
        >>> clock(75), clock(7322), clock(float("nan"))
        ('1:15 min', '2:02 h', 'unknown')
    """
    if math.isnan(seconds):
        return "unknown"
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02} h" if minutes >= 60 else f"{minutes}:{rest:02} min"
