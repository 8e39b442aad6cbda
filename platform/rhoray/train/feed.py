"""From rows in a plan's order to batches on a device; no Ray. The rows may come from anywhere that keeps the order."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa
import torch

from rhoray.core.errors import DatasetError
from rhoray.density.frames import FRAME_SHAPE
from rhoray.models.frames import frames_tensor
from rhoray.pipeline.order import Plan
from rhoray.store.shards import Row, row_density
from rhoray.train.augment import augment_frames
from rhoray.train.loop import Batch
from rhoray.train.recipes import Recipe

GPU_VAL_BATCH = 8
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
        return self._ahead(self._shown(epoch, step) for step in range(first, self.plan.steps))

    def val(self, epoch: int) -> Iterator[Batch]:
        """Yield the crystals that this worker judges: one by one on a CPU, where batching gains nothing."""
        held_out = self.plan.held_out()
        first = self.plan.base(epoch) + len(self.plan.train)
        size = GPU_VAL_BATCH if self.device.type == "cuda" else 1
        return self._ahead(self._batch(held_out[i : i + size], first) for i in range(0, len(held_out), size))

    def _shown(self, epoch: int, step: int) -> Batch:
        positions = self.plan.positions(step)
        batch = self._batch(positions, self.plan.base(epoch))
        if not (self.recipe.augment and positions):
            return batch
        frames = zip(batch.frames.split(1), positions, strict=True)
        return Batch(batch.material_ids, torch.cat([self._view(frame, epoch, p) for frame, p in frames]))

    def _view(self, frame: torch.Tensor, epoch: int, position: int) -> torch.Tensor:
        random = view_of(self.recipe.seed, epoch, position)
        return augment_frames(frame, random, periodic=self.recipe.frame == "cell")

    def _batch(self, positions: range, first: int) -> Batch:
        rows = [self._next(first + position) for position in positions]
        if not rows:
            return Batch([], torch.zeros(0, 1, *FRAME_SHAPE, device=self.device))
        frames = frames_tensor([row_density(row) for row in rows], self.recipe.frame, self.device)
        return Batch([row["material_id"] for row in rows], frames)

    def _next(self, place: int) -> Row:
        row = next(self._rows, None)
        if row is None or row["place"] != place:
            found = "the end" if row is None else row["place"]
            raise DatasetError(f"expected the crystal at place {place}, found {found}")
        return row

    def _ahead(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """Make frames beside the network on a GPU; on a CPU both want the same cores."""
        return ahead(batches, AHEAD) if self.device.type == "cuda" else batches


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
