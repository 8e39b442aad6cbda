"""kill -9 in the middle of an ingest: of the driver, of a worker, of the S3 server, each at five random moments.

After a rerun every byte equals that of an undisturbed run, and before it no reader sees anything unfinished.
"""

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from rhoray.core.errors import DatasetError
from rhoray.core.storage import find, join, read_bytes, write_bytes
from rhoray.local.processes import descendants, title
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard
from tests.unit.builders import chgcar_text, salt

pytestmark = pytest.mark.cluster
MOMENTS = 5
COUNT = 48


@pytest.fixture(scope="module")
def source(store, bucket):
    """Small CHGCARs, two of them broken, so that quarantine must survive too."""
    del store
    for i in range(COUNT):
        text = chgcar_text(salt((12, 12, 12 + i % 5), edge=5.5 + i / 100))
        write_bytes(f"{bucket}/kill/source/m{i:02}_CHGCAR", text[: len(text) // 2 if i % 20 == 7 else None].encode())
    return f"{bucket}/kill/source"


def content(uri: str) -> dict[str, bytes]:
    return {found.uri.removeprefix(uri): read_bytes(found.uri) for found in find(uri)}


@pytest.fixture(scope="module")
def undisturbed(cluster, source, bucket):
    """Every byte of an ingest that nobody disturbed, and how long it took with warm workers."""
    out = f"{bucket}/kill/undisturbed"
    summary = ingest(IngestConfig(source=source, out=f"{out}-warm"))
    assert (summary["written"], summary["quarantined"]) == (COUNT - 3, 3)
    started = time.monotonic()
    ingest(IngestConfig(source=source, out=out))
    return content(out), time.monotonic() - started


def moments(seed: int, span: float) -> list[float]:
    return np.random.default_rng(seed).uniform(0, span, MOMENTS).tolist()


def check_what_readers_see(out: str, expected: dict[str, bytes]) -> None:
    """A reader finds no dataset, or the whole of it."""
    try:
        manifest = read_manifest(out)
    except DatasetError:
        return
    assert read_bytes(join(out, "manifest.parquet")) == expected["/manifest.parquet"]
    assert sum(1 for uri in manifest.shards for _ in read_shard(uri)) == len(manifest.written)


def wait_for_the_bar(process: subprocess.Popen) -> None:
    """Return when the job begins to ingest."""
    heard = ""
    while "ingest:" not in heard and (more := process.stdout.read(1)):
        heard += more


def test_the_driver(cluster, source, undisturbed, root, bucket):
    expected, _ = undisturbed
    landed = []
    for index, moment in enumerate(moments(1, 5.0)):
        out = f"{bucket}/kill/driver-{index}"
        process = subprocess.Popen(
            [sys.executable, "jobs/ingest.py", "--source", source, "--out", out],
            cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
        )  # fmt: skip
        wait_for_the_bar(process)
        time.sleep(moment)
        landed.append(process.poll() is None)
        process.kill()
        process.wait()
        check_what_readers_see(out, expected)
        ingest(IngestConfig(source=source, out=out))
        assert content(out) == expected
    assert sum(landed) >= MOMENTS // 2, "most kills came after the end"


def busy_workers() -> list[int]:
    return [pid for pid in descendants(os.getpid()) if "_make_row" in title(pid)]


def in_background(config: IngestConfig) -> tuple[threading.Thread, list[dict]]:
    done: list[dict] = []
    thread = threading.Thread(target=lambda: done.append(ingest(config)))
    thread.start()
    return thread, done


def test_a_worker(cluster, source, undisturbed, bucket):
    expected, span = undisturbed
    killed = 0
    for index, moment in enumerate(moments(2, 0.8 * span)):
        out = f"{bucket}/kill/worker-{index}"
        thread, done = in_background(IngestConfig(source=source, out=out))
        time.sleep(moment)
        while thread.is_alive() and not (busy := busy_workers()):
            time.sleep(0.01)
        if thread.is_alive():
            os.kill(busy[index % len(busy)], signal.SIGKILL)
            killed += 1
        check_what_readers_see(out, expected)
        thread.join()
        assert done or ingest(IngestConfig(source=source, out=out))
        assert content(out) == expected
    assert killed >= MOMENTS // 2


def test_the_object_store(store, cluster, source, undisturbed, bucket):
    expected, span = undisturbed
    for index, moment in enumerate(moments(3, span)):
        out = f"{bucket}/kill/store-{index}"
        thread, done = in_background(IngestConfig(source=source, out=out))
        time.sleep(moment)
        store.kill()
        time.sleep(0.3)
        store.start()
        thread.join()
        check_what_readers_see(out, expected)
        assert done or ingest(IngestConfig(source=source, out=out))
        assert content(out) == expected


def test_a_file_system_keeps_no_leftovers(cluster, source, undisturbed, tmp_path):
    """A write that was killed half-way leaves a hidden neighbour; the next run removes it."""
    expected, _ = undisturbed
    name = next(n for n in expected if "part" in n).strip("/")
    (tmp_path / f".{name}.0123abcd.tmp").write_bytes(b"half")
    ingest(IngestConfig(source=source, out=str(tmp_path)))
    assert {f"/{p.name}": p.read_bytes() for p in tmp_path.iterdir()} == expected
