"""Making a shard without Ray: what is taken over, what is made again, how items are cut."""

from dataclasses import asdict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rhoray.core.errors import StorageDown
from rhoray.core.stages import Stages
from rhoray.core.storage import read_bytes, remove, write_bytes
from rhoray.pipeline import sharded
from rhoray.pipeline.ingest import ingest_shard
from rhoray.pipeline.sharded import ShardTask, make_shard, plan_shards
from rhoray.sources.items import list_source
from rhoray.store.schema import DENSITY_SCHEMA
from rhoray.store.shards import read_shard
from tests.unit.builders import salt_chgcar

SETTINGS = {"store": "compact"}


@pytest.fixture
def task(tmp_path) -> ShardTask:
    for name in ("a", "b"):
        write_bytes(str(tmp_path / "in" / f"{name}_CHGCAR"), salt_chgcar())
    items = [asdict(item) for item in list_source(str(tmp_path / "in")).items]
    return ShardTask("part-0.parquet", tuple(items), SETTINGS)


def make(task, tmp_path):
    return make_shard(task, ingest_shard, str(tmp_path / "out"), DENSITY_SCHEMA)


def test_a_finished_shard_is_taken_over(task, tmp_path):
    rows, stages = make(task, tmp_path)
    again, nothing = make(task, tmp_path)
    assert again == rows
    assert stages.summary()["parse"]["items"] == 2
    assert nothing == Stages()


def assert_both_written(rows, task, tmp_path):
    assert [row["status"] for row in rows] == ["written", "written"]
    assert [row["material_id"] for row in read_shard(str(tmp_path / "out" / task.name))] == ["a", "b"]


def test_what_the_storage_did_not_give_is_asked_for_again(task, tmp_path):
    uri = task.items[1]["uri"]
    content = read_bytes(uri)
    remove(uri)
    rows, _ = make(task, tmp_path)
    assert [row["status"] for row in rows] == ["written", "quarantined"]
    write_bytes(uri, content)
    rows, _ = make(task, tmp_path)
    assert_both_written(rows, task, tmp_path)


def test_what_was_written_stays_when_its_file_has_gone_since(task, tmp_path):
    first, second = (item["uri"] for item in task.items)
    content = read_bytes(second)
    remove(second)
    make(task, tmp_path)
    write_bytes(second, content)
    remove(first)
    rows, _ = make(task, tmp_path)
    assert_both_written(rows, task, tmp_path)


def test_a_shard_completed_later_is_the_same_bytes(task, tmp_path):
    make(task, tmp_path)
    expected = read_bytes(str(tmp_path / "out" / task.name))
    remove(str(tmp_path / "out" / task.name))
    content = read_bytes(task.items[0]["uri"])
    remove(task.items[0]["uri"])
    make(task, tmp_path)
    write_bytes(task.items[0]["uri"], content)
    make(task, tmp_path)
    assert read_bytes(str(tmp_path / "out" / task.name)) == expected


def test_large_files_share_fewer_shards():
    sizes = [len(t.items) for t in plan_shards([{"i": i, "size": 2**29} for i in range(1000)], {})]
    assert max(sizes) == 3


def test_a_refusal_that_was_planned_becomes_a_row(task, tmp_path):
    first, second = task.items
    rows, _ = make(ShardTask("part-1.parquet", (first, {**second, "refused": "twice"}), SETTINGS), tmp_path)
    assert (rows[1]["status"], rows[1]["reason"]) == ("quarantined", "twice")


def test_a_storage_that_is_down_ends_the_shard(task, tmp_path, monkeypatch):
    def down(item):
        raise StorageDown(f"{item.uri} does not answer")

    monkeypatch.setattr("rhoray.pipeline.ingest.fetch_item", down)
    with pytest.raises(StorageDown):
        make(task, tmp_path)
    assert not (tmp_path / "out").exists()


@given(count=st.integers(0, 3000), most=st.sampled_from([16, 256]))
def test_every_item_is_in_one_task(count, most):
    tasks = plan_shards([{"i": i} for i in range(count)], {}, most=most)
    assert [item["i"] for task in tasks for item in task.items] == list(range(count))
    assert all(0 < len(task.items) <= min(most, 64) for task in tasks)
    assert len({task.name for task in tasks}) == len(tasks)


def test_a_hundred_thousand_items_make_five_hundred_shards():
    tasks = plan_shards([{"i": i} for i in range(100_000)], {})
    assert len(tasks) == 500


def test_names_depend_on_items_and_settings_alone():
    items = [{"uri": f"s3://b/{i}", "tag": "x"} for i in range(5)]
    names = [task.name for task in plan_shards(items, {"store": "grid"})]
    assert names == [task.name for task in plan_shards(items, {"store": "grid"})]
    assert not set(names) & {task.name for task in plan_shards(items, {"store": "compact"})}


@pytest.mark.parametrize(("tasks", "cpus", "expected"), [(5, 2, 5), (1000, 2, 64), (1000, 100, 200), (0, 2, 1)])
def test_ray_gets_some_tasks_at_a_time(monkeypatch, tasks, cpus, expected):
    """Enough for every CPU and for an autoscaler to see, few enough for the driver's memory."""
    monkeypatch.setattr(sharded, "num_cpus", lambda: float(cpus))
    assert sharded._tasks_at_ray(tasks) == expected
