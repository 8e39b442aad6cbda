"""From rows in a plan's order to batches on a device; no Ray. The rows may come from anywhere that keeps the order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from rhoray.core.errors import DatasetError
from rhoray.models.frames import frames_tensor
from rhoray.pipeline.order import Plan
from rhoray.store.shards import Row, row_density
from rhoray.train.augment import augment_frames
from rhoray.train.loop import JUDGED_AT_ONCE, Batch
from rhoray.train.recipes import Recipe

AHEAD = 3
T = TypeVar("T")


class Feed:
    """Batches of one worker, epoch after epoch; each must be read to its end, and in turn.

    Args:
        plan: what comes in which order.
        tables: its rows, with their `place`, cut anywhere.
        recipe: frame and augmentation.
        device: where frames are made.
    """

    def __init__(self, plan: Plan, tables: Iterable[pa.Table], recipe: Recipe, device: torch.device) -> None:
        self.plan = plan
        self.recipe = recipe
        self.device = device
        self._rows = (row for table in tables for row in table.to_pylist())

    def train(self, epoch: int) -> Iterator[Batch]:
        """Yield this worker's share of each step of an epoch, from the plan's step on; some may be empty."""
        first = self.plan.step if epoch == self.plan.epoch else 0
        base = self.plan.base(epoch)
        seen_in = epoch if self.recipe.augment else None
        shares = (self.plan.positions(step) for step in range(first, self.plan.steps))
        return self._ahead(self._batch(share, base, seen_in) for share in shares)

    def val(self, epoch: int) -> Iterator[Batch]:
        """Yield the crystals that this worker judges."""
        held_out = self.plan.held_out()
        base = self.plan.base(epoch) + len(self.plan.train)
        shares = (held_out[i : i + JUDGED_AT_ONCE] for i in range(0, len(held_out), JUDGED_AT_ONCE))
        return self._ahead(self._batch(share, base, None) for share in shares)

    def _batch(self, positions: range, first: int, epoch: int | None) -> Batch:
        """Return the crystals at these positions, to be seen as augmentation has it in an epoch."""
        rows = [self._next(first + position) for position in positions]

        def frames_of(some: slice) -> torch.Tensor:
            frames = frames_tensor([row_density(row) for row in rows[some]], self.recipe.frame, self.device)
            if epoch is None or not len(frames):
                return frames
            views = zip(frames.split(1), positions[some], strict=True)
            return torch.cat([self._view(frame, epoch, position) for frame, position in views])

        return Batch([row["material_id"] for row in rows], frames_of)

    def _view(self, frame: torch.Tensor, epoch: int, position: int) -> torch.Tensor:
        random = view_of(self.recipe.seed, epoch, position)
        return augment_frames(frame, random, periodic=self.recipe.frame == "cell")

    def _next(self, place: int) -> Row:
        row = next(self._rows, None)
        if row is None or row["place"] != place:
            found = "the end" if row is None else row["place"]
            raise DatasetError(f"expected the crystal at place {place}, found {found}")
        return row

    def _ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Make frames beside the network on a GPU; on a CPU the thread that wants them makes them."""
        return ahead(map(_made, batches), AHEAD) if self.device.type == "cuda" else batches


def _made(batch: Batch) -> Batch:
    """Return a batch whose frames are there already."""
    return Batch(batch.material_ids, batch.frames.__getitem__)


def view_of(seed: int, epoch: int, position: int) -> torch.Generator:
    """Return the random numbers of one crystal in one epoch: the same whichever worker shows it."""
    state = np.random.SeedSequence([seed, epoch, position]).generate_state(1, np.uint64)
    return torch.Generator().manual_seed(int(state[0] >> np.uint64(1)))


def ahead(items: Iterator[T], depth: int) -> Iterator[T]:
    """Yield items that a thread makes, at most `depth` ahead of the consumer; its errors are raised here."""
    end: Any = object()
    with ThreadPoolExecutor(1) as maker:
        made = deque(maker.submit(next, items, end) for _ in range(depth))
        while (item := made.popleft().result()) is not end:
            made.append(maker.submit(next, items, end))
            yield item
