"""What a run keeps of itself, at any URI: the last state and the best weights, each written whole or not at all.

A checkpoint counts from the moment it is written: whoever is killed before leaves the one before it.
"""

import io
import re
from dataclasses import dataclass
from typing import Any

import torch

from rhoray.core.errors import RunError
from rhoray.core.storage import find, join, read_bytes, remove, remove_leftovers, write_bytes
from rhoray.train.loop import TrainState

FOLDER = "checkpoints"
LAST = "last.pt"
BEST = "best.pt"
PROBE = "_probe"
# What checkpoints take: weights, their mean and Adam's two moments, each of four bytes; the last state, the one that
# replaces it, and the best weights.
BYTES_PER_PARAMETER = 4 * 4 * 3
LEAST_BYTES = 2**20


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """The checkpoints of one run.

    Attributes:
        uri: their folder.
    """

    uri: str

    def save_last(self, state: TrainState) -> None:
        """Replace the state to go on from."""
        _save(join(self.uri, LAST), state.to_checkpoint())

    def save_best(self, state: TrainState) -> None:
        """Replace the weights that count; written before the state that knows of them."""
        _save(join(self.uri, BEST), {"model": state.judged.state_dict(), "epoch": state.epoch})

    def last(self) -> dict[str, Any] | None:
        """Return the state to go on from, None before the first."""
        try:
            return _load(join(self.uri, LAST))
        except FileNotFoundError:
            return None

    def best(self) -> dict[str, Any]:
        """Return `model` and `epoch` of the best epoch."""
        return _load(join(self.uri, BEST))


def checkpoints_of(out: str, name: str) -> Checkpoints:
    """Return where the run `name` at `out` keeps itself; another run there has another place."""
    return Checkpoints(join(out, FOLDER, name))


def forget_others(out: str, name: str) -> None:
    """Remove the checkpoints of earlier runs at `out`, and what killed writes left there."""
    kept = checkpoints_of(out, name).uri
    try:
        found = find(join(out, FOLDER))
    except FileNotFoundError:
        return
    for stat in found:
        if not stat.uri.startswith(f"{kept}/"):
            remove(stat.uri)
    remove_leftovers(kept, re.compile(r"(last|best)\.pt"))


def check_room(out: str, parameters: int) -> None:
    """Make sure that checkpoints of a network can be written, by writing as many bytes and removing them.

    Raises:
        RunError: they can't, and why.
    """
    probe = join(out, FOLDER, PROBE)
    size = max(LEAST_BYTES, BYTES_PER_PARAMETER * parameters)
    try:
        write_bytes(probe, bytes(size))
        remove(probe)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunError(f"{out}: no checkpoint of {size / 1e6:.0f} MB can be written there: {reason}") from error


def _save(uri: str, content: dict[str, Any]) -> None:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_bytes(uri, buffer.getvalue())


def _load(uri: str) -> dict[str, Any]:
    return torch.load(io.BytesIO(read_bytes(uri)), map_location="cpu", weights_only=True)
