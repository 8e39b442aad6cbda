"""Trainings that take turns on one machine, an epoch each, so that a machine whose speed drifts drifts for all of them.

Whoever's turn it is not stands still, with all of its processes. So a ratio is one of epochs that ran seconds apart.
"""

import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from rhoray.local.processes import signal_all
from rhoray.train.feed import Feed
from rhoray.train.loop import Batch

LOOK_S = 0.02
# Who stood still has things to catch up on, which are no part of an epoch.
SETTLE_S = 0.5


@dataclass(frozen=True)
class Turn:
    """One training's place among all that take turns.

    Attributes:
        file: holds the number of the turn that is on.
        place: of this training in each round.
        of: how many there are.
    """

    file: Path
    place: int
    of: int

    def number(self, epoch: int) -> int:
        """Return the turn in which this training does an epoch; every other round goes the other way."""
        return epoch * self.of + (self.place if epoch % 2 == 0 else self.of - 1 - self.place)

    def take(self) -> None:
        """Make every feed of this process wait for its turn before each epoch, and end its turn thereafter."""
        train = Feed.train

        def in_turn(feed: Feed, epoch: int) -> Iterator[Batch]:
            if epoch and feed.plan.rank == 0:
                write_turn(self.file, self.number(epoch - 1) + 1)
            while read_turn(self.file) < self.number(epoch):
                time.sleep(LOOK_S)
            time.sleep(SETTLE_S)
            return train(feed, epoch)

        Feed.train = in_turn


def read_turn(file: Path) -> int:
    """Return the turn that is on."""
    return int(file.read_text())


def write_turn(file: Path, number: int) -> None:
    """Begin a turn; whoever looks meanwhile sees the one before."""
    new = file.with_suffix(".new")
    new.write_text(str(number))
    new.replace(file)


def run_in_turns(file: Path, start: Sequence[Callable[[Turn], subprocess.Popen]], epochs: int) -> None:
    """Start each training when its first turn comes, and let them take turns to the end.

    Args:
        file: where the number of the turn is kept.
        start: starts the training of a place.
        epochs: of each of them.

    Raises:
        RuntimeError: one of them failed.
    """
    turns = [Turn(file, place, len(start)) for place in range(len(start))]
    order = sorted((turn.number(epoch), turn) for epoch in range(epochs) for turn in turns)
    running: dict[Turn, subprocess.Popen] = {}
    write_turn(file, 0)
    try:
        for (number, turn), (_, after) in zip(order, [*order[1:], (None, None)], strict=True):
            if turn in running:
                signal_all(running[turn].pid, signal.SIGCONT)
            else:
                running[turn] = start[turn.place](turn)
            if outlives(running[turn], file, number) and turn != after:
                signal_all(running[turn].pid, signal.SIGSTOP)
    finally:
        for process in running.values():
            if process.poll() is None:
                signal_all(process.pid, signal.SIGKILL)


def outlives(process: subprocess.Popen, file: Path, number: int) -> bool:
    """Wait for a turn to end; return whether the process whose turn it was goes on. One that ended can't say so."""
    while read_turn(file) == number and process.poll() is None:
        time.sleep(LOOK_S)
    if process.poll():
        raise RuntimeError(f"{process.args} ended with {process.returncode}")
    if process.returncode == 0:
        write_turn(file, number + 1)
    return process.returncode is None
