"""The order of training: the same whoever reads it, another each epoch, whole, and taken up again where it stopped."""

from dataclasses import replace

import numpy as np
import pyarrow as pa
import pytest

from rhoray.core.errors import DatasetError
from rhoray.pipeline.order import Crystals, Plan, crystals_of, epoch_order, window_rows
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import Manifest, read_manifest


@pytest.fixture(scope="module")
def manifest() -> Manifest:
    return read_manifest(sample_uri())


@pytest.fixture(scope="module")
def plan(manifest) -> Plan:
    train, val = (crystals_of(manifest, split) for split in ("train", "val"))
    return Plan(train=train, val=val, seed=3, epochs=3, batch=8, window=50)


def everything(plan: Plan) -> pa.Table:
    tables = [plan.read(chunk) for chunk in plan.chunks()]
    return pa.concat_tables([t for t in tables if t.num_rows])


def test_an_order_is_of_seed_and_epoch_alone(plan):
    orders = [
        epoch_order(plan.train, seed=seed, epoch=epoch, window=50) for seed, epoch in ((3, 0), (3, 0), (3, 1), (4, 0))
    ]
    for order in orders:
        assert sorted(order) == list(range(len(plan.train)))
    assert (orders[0] == orders[1]).all()
    assert (orders[0] != orders[2]).mean() > 0.9
    assert (orders[0] != orders[3]).mean() > 0.9


def test_a_window_mixes_its_rows_and_reads_few_shards():
    shard = np.repeat(np.arange(40), 25)
    crystals = Crystals([f"s{i}" for i in range(40)], shard, [f"m{i}" for i in range(1000)])
    order = epoch_order(crystals, seed=0, epoch=0, window=100)
    assert [len(set(shard[order[i : i + 100]])) for i in range(0, 1000, 100)] == [4] * 10
    assert len(set(shard[order[:8]])) > 1
    whole = epoch_order(crystals, seed=0, epoch=0, window=1000)
    assert abs(np.corrcoef(whole, range(1000))[0, 1]) < 0.1


@pytest.mark.parametrize("world", [1, 2, 3, 8])
def test_workers_share_every_batch_between_them(plan, world):
    workers = [replace(plan, rank=rank, world=world) for rank in range(world)]
    for step in range(plan.steps):
        shares = [list(worker.positions(step)) for worker in workers]
        whole = list(range(step * 8, min(step * 8 + 8, len(plan.train))))
        assert [p for share in shares for p in share] == whole
        assert max(map(len, shares)) - min(map(len, shares)) <= 1
    assert sorted(p for worker in workers for p in worker.held_out()) == list(range(len(plan.val)))


@pytest.mark.parametrize("world", [1, 2, 3])
def test_what_is_read_is_the_order_that_was_planned(plan, world):
    for rank in range(world):
        worker = replace(plan, rank=rank, world=world)
        expected = []
        for epoch in range(plan.epochs):
            order = epoch_order(plan.train, seed=3, epoch=epoch, window=50)
            own = [p for step in range(plan.steps) for p in worker.positions(step)]
            first = plan.base(epoch)
            expected += [(first + p, plan.train.material_ids[order[p]]) for p in own]
            expected += [(first + len(order) + p, plan.val.material_ids[p]) for p in worker.held_out()]
        found = everything(worker)
        assert list(zip(found["place"].to_pylist(), found["material_id"].to_pylist(), strict=True)) == expected


@pytest.mark.parametrize(("epoch", "step"), [(0, 7), (1, 0), (1, 3), (2, 26), (2, 12)])
def test_reading_goes_on_at_the_very_step(plan, epoch, step):
    whole = everything(plan)["material_id"].to_pylist()
    resumed = everything(replace(plan, epoch=epoch, step=step))["material_id"].to_pylist()
    per_epoch = len(plan.train) + len(plan.val)
    assert resumed == whole[epoch * per_epoch + min(step * 8, len(plan.train)) :]


def test_finished_windows_are_not_read_again(plan):
    assert replace(plan, step=13).chunks().start == plan.chunks().start + 2
    assert len(replace(plan, epoch=3).chunks()) == 0


def test_a_reader_holds_no_more_of_large_rows(manifest):
    assert window_rows(manifest) == 2048
    large = Manifest(manifest.uri, manifest.rows.assign(bytes_out=2**22), {})
    assert window_rows(large) == 64


def test_another_dataset_is_another_plan(plan):
    shorter = Crystals(plan.train.uris, plan.train.shard[:-1], plan.train.material_ids[:-1])
    assert replace(plan, train=shorter).digest != plan.digest == replace(plan, rank=1, world=2).digest


def test_a_crystal_that_is_not_where_it_should_be(plan):
    lost = replace(plan, train=replace(plan.train, material_ids=["mp-none", *plan.train.material_ids[1:]]))
    with pytest.raises(DatasetError, match="mp-none is not in the shard"):
        everything(lost)


def test_an_empty_split_says_so(manifest):
    with pytest.raises(DatasetError, match="no densities in split 'nowhere'"):
        crystals_of(manifest, "nowhere")
