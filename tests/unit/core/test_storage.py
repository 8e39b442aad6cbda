"""Storage on a file system: names, order, and all or nothing. S3 is tested with a real server, in tests/cluster."""

from pathlib import Path

import pytest

from rhoray.core.errors import RhoRayError
from rhoray.core.storage import exists, find, join, name_of, normalise, read_bytes, remove, write_bytes


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        pytest.param("/data/x", "file:///data/x", id="plain"),
        pytest.param("/data/my crystals/50%", "file:///data/my crystals/50%", id="space-and-percent"),
        pytest.param("/data/x/", "file:///data/x", id="slash"),
        pytest.param("file:///data/x/", "file:///data/x", id="file"),
        pytest.param("s3://bucket", "s3://bucket", id="bucket"),
        pytest.param("s3://bucket/a b/", "s3://bucket/a b", id="s3"),
    ],
)
def test_normalise(uri, expected):
    assert normalise(uri) == expected
    assert normalise(normalise(uri)) == expected


def test_relative_paths_and_home_become_absolute():
    assert normalise("data") == f"file://{Path.cwd()}/data"
    assert normalise("~/x") == f"file://{Path.home()}/x"


@pytest.mark.parametrize("uri", ["http://host/x", "gs://b/x", "mp:149", "S4://b"])
def test_unknown_schemes_are_refused(uri):
    with pytest.raises(RhoRayError, match="expected a path"):
        normalise(uri)


def test_join_and_name():
    assert join("s3://b/x/", "y", "z.parquet") == "s3://b/x/y/z.parquet"
    assert name_of("s3://b/x/y/") == "y"


@pytest.mark.parametrize("name", ["a.bin", "deep/er/a.bin", "my crystals/50% #1.bin", "é.bin"])
def test_bytes_come_back(tmp_path, name):
    uri = str(tmp_path / name)
    write_bytes(uri, b"rho")
    assert read_bytes(uri) == b"rho"
    assert [read_bytes(stat.uri) for stat in find(str(tmp_path))] == [b"rho"]


def test_a_write_replaces_and_leaves_nothing_else(tmp_path):
    for content in (b"longer than the next", b"short"):
        write_bytes(str(tmp_path / "x"), content)
    assert read_bytes(str(tmp_path / "x")) == b"short"
    assert [p.name for p in tmp_path.iterdir()] == ["x"]


def test_a_failed_write_leaves_nothing(tmp_path):
    (tmp_path / "taken" / "inner").mkdir(parents=True)
    with pytest.raises(IsADirectoryError):
        write_bytes(str(tmp_path / "taken"), b"x")
    assert [p.name for p in tmp_path.iterdir()] == ["taken"]


def test_find_is_sorted_recursive_and_leaves_hidden_names_out(tmp_path):
    for name in ("b.x", "a/2", "a/10", ".hidden", "_temporary/x", ".b.x.1234.tmp", "a/.git/x"):
        write_bytes(str(tmp_path / name), b"12345")
    stats = find(str(tmp_path))
    assert [stat.uri for stat in stats] == [f"file://{tmp_path}/{name}" for name in ("a/10", "a/2", "b.x")]
    assert {stat.size for stat in stats} == {5}


def test_hidden_folders_above_the_root_do_not_matter(tmp_path):
    write_bytes(str(tmp_path / ".cache" / "x"), b"")
    assert len(find(str(tmp_path / ".cache"))) == 1


def test_find_one_file(tmp_path):
    write_bytes(str(tmp_path / "x"), b"1")
    assert [stat.uri for stat in find(str(tmp_path / "x"))] == [f"file://{tmp_path}/x"]


def test_the_tag_changes_with_the_content(tmp_path):
    tags = set()
    for content in (b"1", b"2"):
        write_bytes(str(tmp_path / "x"), content)
        tags.add(find(str(tmp_path))[0].tag)
    assert len(tags) == 2


@pytest.mark.parametrize("call", [read_bytes, find])
def test_what_is_missing_is_not_found(tmp_path, call):
    with pytest.raises(FileNotFoundError):
        call(str(tmp_path / "nothing"))


def test_a_prefix_is_not_an_object(tmp_path):
    write_bytes(str(tmp_path / "a" / "x"), b"")
    assert exists(str(tmp_path / "a" / "x"))
    assert not exists(str(tmp_path / "a"))
    assert not exists(str(tmp_path / "b"))


def test_remove_twice(tmp_path):
    write_bytes(str(tmp_path / "x"), b"")
    remove(str(tmp_path / "x"))
    remove(str(tmp_path / "x"))
    assert not exists(str(tmp_path / "x"))
