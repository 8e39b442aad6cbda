"""Rows become the same batches whoever reads them, augmented or not."""

import gc
import itertools
import threading
import tracemalloc
from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest
import torch

from rhoray.core.errors import DatasetError
from rhoray.models.autoencoder import AutoencoderConfig
from rhoray.pipeline.order import Crystals, Plan, crystals_of
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.schema import DENSITY_SCHEMA
from rhoray.store.shards import density_row, write_shard
from rhoray.train.feed import Feed, ahead
from rhoray.train.recipes import Recipe
from tests.unit.builders import salt

CPU = torch.device("cpu")
RECIPE = Recipe(name="small", network=AutoencoderConfig(width=8, depth=1))


@pytest.fixture(scope="module")
def plan() -> Plan:
    manifest = read_manifest(sample_uri())
    train, val = (crystals_of(manifest, split) for split in ("train", "val"))
    few = replace(train, shard=train.shard[:11], material_ids=train.material_ids[:11])
    fewer = replace(val, shard=val.shard[:3], material_ids=val.material_ids[:3])
    return Plan(train=few, val=fewer, seed=0, epochs=2, batch=4, window=6)


def feed(plan: Plan, recipe: Recipe = RECIPE) -> Feed:
    return Feed(plan, (plan.read(chunk) for chunk in plan.chunks()), recipe, CPU)


@pytest.mark.parametrize("augment", [False, True])
def test_two_workers_see_what_one_sees(plan, augment):
    recipe = replace(RECIPE, augment=augment)
    alone = feed(plan, recipe)
    pair = [feed(replace(plan, rank=rank, world=2), recipe) for rank in range(2)]
    for epoch in range(2):
        for whole, left, right in zip(*(f.train(epoch) for f in (alone, *pair)), strict=True):
            assert whole.material_ids == left.material_ids + right.material_ids
            assert torch.equal(whole.frames, torch.cat([left.frames, right.frames]))
        judged = [[name for batch in f.val(epoch) for name in batch.material_ids] for f in (alone, *pair)]
        assert sorted(judged[0]) == sorted(judged[1] + judged[2]) == sorted(plan.val.material_ids)


def test_augmented_views_are_of_the_same_crystals_and_new_each_epoch(plan):
    plain, seen = feed(plan), feed(plan, replace(RECIPE, augment=True))
    views: dict[str, list] = {}
    for epoch in range(2):
        for before, after in zip(plain.train(epoch), seen.train(epoch), strict=True):
            torch.testing.assert_close(after.frames.sum((1, 2, 3, 4)), before.frames.sum((1, 2, 3, 4)))
            assert not torch.equal(after.frames, before.frames)
            for name, frame in zip(after.material_ids, after.frames, strict=True):
                views.setdefault(name, []).append(frame)
        for before, after in zip(plain.val(epoch), seen.val(epoch), strict=True):
            assert torch.equal(before.frames, after.frames)
    assert all(not torch.equal(*pair) for pair in views.values())


def test_a_worker_without_a_share_gets_an_empty_batch(plan):
    ninth = feed(replace(plan, rank=3, world=4))
    sizes = [len(batch.material_ids) for batch in ninth.train(0)]
    assert sizes == [1, 1, 1]
    first = feed(replace(plan, rank=0, world=4))
    assert [len(batch.frames) for batch in first.train(0)] == [1, 1, 0]


def test_rows_out_of_order_are_refused(plan):
    tables = [plan.read(chunk) for chunk in plan.chunks()]
    mixed = Feed(plan, iter(tables[::-1]), RECIPE, CPU)
    with pytest.raises(DatasetError, match="expected the crystal at place 0, found 25"):
        next(iter(mixed.train(0)))
    with pytest.raises(DatasetError, match="found the end"):
        next(iter(Feed(plan, iter([]), RECIPE, CPU).train(0)))


def test_a_thread_works_ahead_but_no_farther():
    made, allowed = [], threading.Semaphore(0)

    def items():
        for i in range(10):
            made.append(i)
            allowed.release()
            yield i

    found = ahead(items(), 3)
    assert next(found) == 0
    for _ in range(3):
        assert allowed.acquire(timeout=5)
    assert len(made) <= 4
    assert list(found) == list(range(1, 10))


def test_what_breaks_in_the_thread_is_raised_to_the_consumer():
    def items():
        yield 1
        raise DatasetError("gone")

    found = ahead(items(), 2)
    assert next(found) == 1
    with pytest.raises(DatasetError, match="gone"):
        next(found)


ROWS = 4
LARGE = (64, 64, 64)


def many_shards(folder, count: int) -> Crystals:
    """Write so many shards of a few rows whose densities are as large as those of a grid store, in small."""
    folder.mkdir()
    row = density_row("", "X", salt(), np.random.default_rng(0).random(LARGE).astype(np.float16).tobytes(), LARGE)
    names = [[f"mp-{shard}-{i}" for i in range(ROWS)] for shard in range(count)]
    uris = [f"file://{folder}/part-{shard}.parquet" for shard in range(count)]
    for uri, some in zip(uris, names, strict=True):
        write_shard(uri, [{**row, "material_id": name} for name in some], DENSITY_SCHEMA, {})
    return Crystals(uris, np.repeat(np.arange(count), ROWS), [name for some in names for name in some])


def peak_of_training(folder, shards: int, epochs: int) -> int:
    """Return the most bytes that a worker's feed held, frames apart, while it read all of training."""
    train, val = many_shards(folder / f"train-{shards}", shards), many_shards(folder / f"val-{shards}", 1)
    plan = Plan(train=train, val=val, seed=0, epochs=epochs, batch=4, window=2 * ROWS)
    gc.collect()  # what tests before have left must not be freed, and counted, in between
    before, most, crystals = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()
    try:
        found = feed(plan)
        for epoch in range(epochs):
            for batch in itertools.chain(found.train(epoch), found.val(epoch)):
                most = max(most, pa.total_allocated_bytes() - before)
                crystals += len(batch.material_ids)
        assert crystals == epochs * (shards + 1) * ROWS
        return most + tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_more_shards_take_no_more_memory(tmp_path):
    few, many = peak_of_training(tmp_path, 3, 4), peak_of_training(tmp_path, 12, 1)
    window = 2 * ROWS * 2 * np.prod(LARGE)
    assert window < many < 1.1 * few < 12 * window
