"""What storage promises, on a file system and on a real S3 server alike."""

import os
import re
import threading

import pytest
from s3fs import S3FileSystem

from rhoray.core.environment import variables
from rhoray.core.errors import StorageDown, Unavailable
from rhoray.core.storage import (
    answers,
    exists,
    find,
    join,
    read_bytes,
    remove,
    remove_leftovers,
    stat,
    write_bytes,
)
from rhoray.sources.items import Item, list_source, read_item
from rhoray.store.manifest import read_manifest, write_manifest
from tests.unit.builders import salt_chgcar
from tests.unit.store.test_shards import manifest


@pytest.fixture(params=["file", "s3"])
def base(request, tmp_path, bucket) -> str:
    """A place of its own for each test."""
    if request.param == "file":
        return f"file://{tmp_path}"
    request.getfixturevalue("store")
    return f"{bucket}/contract/{tmp_path.name}"


@pytest.mark.parametrize("name", ["a.bin", "deep/er/a.bin", "with space/50% #1.bin", "é.bin"])
def test_bytes_come_back(base, name):
    write_bytes(join(base, name), b"rho")
    assert read_bytes(join(base, name)) == b"rho"
    assert [found.uri for found in find(base)] == [join(base, name)]


def test_a_large_object_comes_whole_with_one_request(store, bucket, tmp_path, monkeypatch):
    uri, content = f"{bucket}/contract/{tmp_path.name}/large", os.urandom(60 * 2**20)  # s3fs reads pieces of 50 MiB
    write_bytes(uri, content)
    asked = []
    ask = S3FileSystem._call_s3

    def note(self, method, *args, **kwargs):
        asked.append(method)
        return ask(self, method, *args, **kwargs)

    monkeypatch.setattr(S3FileSystem, "_call_s3", note)
    assert read_bytes(uri) == content
    assert asked == ["get_object"]


def test_a_write_replaces_and_changes_the_tag(base):
    write_bytes(join(base, "x"), b"longer than the next")
    before = stat(join(base, "x"))
    write_bytes(join(base, "x"), b"short")
    after = stat(join(base, "x"))
    assert (before.size, after.size) == (20, 5)
    assert before.tag != after.tag


def test_find_is_sorted_and_hides_what_is_hidden(base):
    for name in ("b", "a/z", "a-0", ".hidden", "_tmp/x", "c/.d/x"):
        write_bytes(join(base, name), b"1")
    assert [found.uri.removeprefix(f"{base}/") for found in find(base)] == ["a-0", "a/z", "b"]


def test_what_is_not_there(base):
    assert stat(join(base, "x")) is None
    assert not exists(base)
    remove(join(base, "x"))
    for missing in (lambda: read_bytes(join(base, "x")), lambda: find(join(base, "x"))):
        with pytest.raises(FileNotFoundError):
            missing()


def test_readers_see_one_version_or_the_other_never_a_torn_one(base):
    versions = [bytes([v]) * 200_000 for v in range(8)]
    write_bytes(join(base, "x"), versions[0])
    done = threading.Event()

    def write():
        for _ in range(3):
            for version in versions:
                write_bytes(join(base, "x"), version)
        done.set()

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while not done.is_set():
        seen.add(read_bytes(join(base, "x")))
    writer.join()
    assert seen <= set(versions)


def test_a_manifest_comes_back(base):
    write_manifest(manifest(base, num_atoms=[8, 3]))
    assert read_manifest(base).written.num_atoms.tolist() == [8, 3]


def test_leftovers_of_killed_writes_are_removed_and_nothing_else(tmp_path):
    for name in (".part-1.0a1b2c3d.tmp", ".mine.0a1b2c3d.tmp", ".part-1.tmp", "part-1"):
        (tmp_path / name).touch()
    remove_leftovers(str(tmp_path), re.compile(r"part-\d"))
    assert sorted(p.name for p in tmp_path.iterdir()) == [".mine.0a1b2c3d.tmp", ".part-1.tmp", "part-1"]


def test_an_object_that_was_deleted_after_the_listing(base):
    write_bytes(join(base, "a_CHGCAR"), salt_chgcar())
    (item,) = list_source(base).items
    remove(item.uri)
    with pytest.raises(Unavailable, match="it is not there; put it back"):
        read_item(item)


def test_an_object_that_changed_after_the_listing(base):
    write_bytes(join(base, "a_CHGCAR"), salt_chgcar())
    (item,) = list_source(base).items
    write_bytes(item.uri, salt_chgcar() + b"\n")
    with pytest.raises(Unavailable, match=r"it changed meanwhile; run again"):
        read_item(item)


def test_permission_denied_says_so(store, bucket):
    """With keys that may list, but not read; fsspec keeps clients by their options, hence another endpoint name."""
    write_bytes(f"{bucket}/contract/denied/a_CHGCAR", salt_chgcar())
    endpoint = store.endpoint.replace("127.0.0.1", "localhost")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()
    lister = {"AWS_ACCESS_KEY_ID": "lister", "AWS_SECRET_ACCESS_KEY": "listersecret", "AWS_ENDPOINT_URL_S3": endpoint}
    with variables(lister):
        (item,) = list_source(f"{bucket}/contract/denied").items
        with pytest.raises(Unavailable, match=r"no permission to read .*; give the job"):
            read_item(item)
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_storage_that_is_down_is_no_fault_of_the_object(store, bucket, monkeypatch):
    import s3fs
    from tenacity import stop_after_attempt

    monkeypatch.setattr(read_bytes.retry, "stop", stop_after_attempt(1))
    s3fs.S3FileSystem.clear_instance_cache()
    with variables({"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"}):
        assert not answers(f"{bucket}/x")
        with pytest.raises(StorageDown, match=r"does not answer .* run again"):
            read_item(Item("x", f"{bucket}/x"))
    s3fs.S3FileSystem.clear_instance_cache()
    assert answers(f"{bucket}/x")


def test_a_server_that_is_restarted_is_waited_for(store, bucket):
    write_bytes(f"{bucket}/contract/restart", b"rho")
    store.kill()
    again = threading.Timer(1.5, store.start)
    again.start()
    assert read_bytes(f"{bucket}/contract/restart") == b"rho"
    again.join()
