"""In which order training sees the crystals: a function of dataset, seed and epoch, and of nothing else.

Step s of an epoch takes positions [s B, (s + 1) B) of its order, B being the batch over all workers together. Each
worker takes a slice of every batch, so that neither the number of workers nor a restart changes what a step learns
from. Shards are mixed, then rows within windows of so many rows, so that a reader never holds more than a window.
"""

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from jaxtyping import Int

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join
from rhoray.store.manifest import Group, Manifest, splits_by
from rhoray.store.shards import read_row_groups

# What a reader holds at once: many shards' worth of a compact store, and no more memory with a grid store.
MOST_SHUFFLED_ROWS = 2048
SHUFFLED_BYTES = 256 * 2**20

Numbers = Int[np.ndarray, " n"]


@dataclass(frozen=True, slots=True)
class Crystals:
    """Where the crystals of one split lie, in the manifest's order.

    Attributes:
        uris: the shards that hold them.
        shard: of each crystal, as an index into `uris`.
        material_ids: of each crystal.
    """

    uris: list[str]
    shard: Numbers
    material_ids: list[str]

    def __len__(self) -> int:
        return len(self.material_ids)


def crystals_of(manifest: Manifest, split: str, group: Group = "formula") -> Crystals:
    """Return the crystals of a split.

    Raises:
        DatasetError: the split is empty, or the group is not known.
    """
    written = manifest.written
    chosen = written[splits_by(written, group) == split]
    if not len(chosen):
        raise DatasetError(f"{manifest.uri}: no densities in split {split!r}")
    codes, names = chosen.shard.factorize()
    return Crystals([join(manifest.uri, str(name)) for name in names], codes, chosen.material_id.tolist())


def window_rows(manifest: Manifest) -> int:
    """Return how many rows a reader may hold to mix them."""
    mean = max(1.0, float(manifest.written.bytes_out.mean()))
    return int(min(MOST_SHUFFLED_ROWS, max(1, SHUFFLED_BYTES // mean)))


def epoch_order(crystals: Crystals, *, seed: int, epoch: int, window: int) -> Numbers:
    """Return the crystals' row numbers in the order of an epoch."""
    random = np.random.default_rng([seed, epoch])
    place = random.permutation(len(crystals.uris))[crystals.shard]
    order = np.argsort(place, kind="stable")
    for start in range(0, len(order), window):
        order[start : start + window] = random.permutation(order[start : start + window])
    return order


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """All that one worker reads until the end of training: in each epoch its share of train, then of val.

    Attributes:
        train: crystals to learn from.
        val: crystals to judge by.
        seed: of the order.
        epochs: of the whole run.
        batch: crystals a step, over all workers.
        window: rows that a reader holds at once.
        rank: of this worker.
        world: number of workers.
        epoch: to begin with.
        step: of that epoch to begin with.
    """

    train: Crystals
    val: Crystals
    seed: int
    epochs: int
    batch: int
    window: int
    rank: int = 0
    world: int = 1
    epoch: int = 0
    step: int = 0

    @property
    def digest(self) -> str:
        """What the order depends on, as a short text."""
        parts = (
            self.train.uris,
            self.train.shard.tolist(),
            self.train.material_ids,
            self.val.material_ids,
            self.window,
        )
        return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:16]

    @property
    def steps(self) -> int:
        """Steps of an epoch; the last one may be of fewer crystals."""
        return -(-len(self.train) // self.batch)

    def positions(self, step: int) -> range:
        """Return this worker's positions in the epoch's order at a step; none if the batch is that small."""
        first = step * self.batch
        size = min(self.batch, len(self.train) - first)
        return range(first + size * self.rank // self.world, first + size * (self.rank + 1) // self.world)

    def held_out(self) -> range:
        """Return the val crystals that this worker judges."""
        return range(self.rank, len(self.val), self.world)

    def base(self, epoch: int) -> int:
        """Return the place of an epoch's first crystal among all of the run; those to judge by follow train's."""
        return epoch * (len(self.train) + len(self.val))

    @property
    def _windows(self) -> tuple[int, int]:
        return -(-len(self.train) // self.window), -(-len(self.val) // self.window)

    def chunks(self) -> range:
        """Return the numbers of the chunks that are still to read."""
        per_epoch = sum(self._windows)
        done = min(self.step * self.batch // self.window, self._windows[0])
        return range(self.epoch * per_epoch + done, self.epochs * per_epoch)

    def read(self, chunk: int) -> pa.Table:
        """Return this worker's rows of a chunk in their order, with their `place` (see `base`)."""
        epoch, index = divmod(chunk, sum(self._windows))
        train_windows = self._windows[0]
        if index < train_windows:
            order = epoch_order(self.train, seed=self.seed, epoch=epoch, window=self.window)
            span = range(index * self.window, min((index + 1) * self.window, len(order)))
            places = np.array([p for p in self._own(span) if epoch > self.epoch or p >= self.step * self.batch], int)
            return _read(self.train, order[places], self.base(epoch) + places)
        start = (index - train_windows) * self.window
        places = np.array([p for p in self.held_out() if start <= p < start + self.window], int)
        return _read(self.val, places, self.base(epoch) + len(self.train) + places)

    def _own(self, span: range) -> Iterator[int]:
        for step in range(span.start // self.batch, (span.stop - 1) // self.batch + 1):
            yield from (p for p in self.positions(step) if p in span)


def _read(crystals: Crystals, rows: Numbers, places: Numbers) -> pa.Table:
    """Return rows of shards in the order asked for.

    Raises:
        DatasetError: a shard lacks a crystal that the manifest says it has.
    """
    parts = [
        read_row_groups(
            crystals.uris[shard], {crystals.material_ids[row] for row in rows[crystals.shard[rows] == shard]}
        )
        for shard in dict.fromkeys(crystals.shard[rows].tolist())
    ]
    tables = [table for part in parts for table in part]
    if not tables:
        return pa.table({"place": pa.array([], pa.int64())})
    table = pa.concat_tables(tables)
    found = {name: index for index, name in enumerate(table["material_id"].to_pylist())}
    wanted = [crystals.material_ids[row] for row in rows]
    if missing := [name for name in wanted if name not in found]:
        raise DatasetError(f"{missing[0]} is not in the shard that the manifest names; the dataset was changed")
    ordered = table.take([found[name] for name in wanted])
    return ordered.append_column("place", pa.array(places, pa.int64()))
