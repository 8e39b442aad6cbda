"""On a real Serve: neither a dead replica nor a new bundle costs an answer, and who goes away takes his work along."""

import asyncio
import json
import os
import shutil
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from ray import serve

from benchmarks._clients import at_work
from rhoray.client import Client
from rhoray.local.processes import descendants, title
from rhoray.registry.bundle import resolve
from serve.app import Api, build
from serve.canary import canary_file
from serve.deployments import Parser
from serve.settings import ServeSettings

pytestmark = pytest.mark.cluster


def replicas(name):
    return [pid for pid in descendants(os.getpid()) if f"ServeReplica:rhoray:{name}" in title(pid)]


def clients(url, content, answers, lost):
    """Three clients at work inside a block; each answer is noted with its time."""

    def work(_, ended):
        client = Client(url)
        while not ended.is_set():
            try:
                found = client.predict(content, "CHGCAR")
                answers.append((time.monotonic(), tuple(p.value for p in found.properties)))
            except Exception as error:  # noqa: BLE001 - whatever it is, an answer was lost
                lost.append(error)

    return at_work(3, work)


def test_a_killed_replica_costs_no_answer(served_url, sample_chgcars):
    """With one replica a stage, requests wait for its successor, and those that it held are sent once more."""
    answers, lost = [], []
    with clients(served_url, min(sample_chgcars.values(), key=len), answers, lost):
        assert until(lambda: len(answers) >= 6)
        (victim,) = replicas("Regressor")
        killed = time.monotonic()
        os.kill(victim, signal.SIGKILL)
        assert until(lambda: sum(at > killed + 0.5 for at, _ in answers) >= 6, seconds=40)
    assert lost == []
    assert victim not in replicas("Regressor")
    assert all(numbers == answers[0][1] for _, numbers in answers)


def slow_stage(folder):
    """A stage in the place of encoder and regressors that tells what becomes of each call."""

    @serve.deployment(ray_actor_options={"num_cpus": 0.1})
    class Slow:
        def __init__(self, folder):
            self.folder = Path(folder)
            self.is_warm = False

        async def encode(self, _density):
            if not self.is_warm:  # the ingress sends a canary before it gets requests
                self.is_warm = True
                raise RuntimeError("no model here")
            (self.folder / "started").touch()
            try:
                await asyncio.sleep(20)
                (self.folder / "finished").touch()
            except asyncio.CancelledError:
                (self.folder / "cancelled").touch()
                raise

        async def predict(self, _density, _encoded):
            (self.folder / "predicted").touch()

    return Slow.bind(str(folder))


def until(condition, seconds=10.0):
    deadline = time.monotonic() + seconds
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.05)
    return condition()


def test_who_goes_away_takes_his_work_along(served_url, tmp_path):
    """A second application beside the first: its model call ends when the client's connection does."""
    settings = ServeSettings()
    slow = slow_stage(tmp_path)
    serve.run(Api.bind(Parser.bind(settings), slow, slow, settings), name="slow", route_prefix="/slow")
    try:
        request = httpx.Request("POST", f"{served_url}/slow/v1/predict", files={"file": ("CHGCAR", canary_file())})
        head = f"POST /slow/v1/predict HTTP/1.1\r\nHost: {urlsplit(served_url).netloc}\r\n" + "".join(
            f"{name}: {value}\r\n" for name, value in request.headers.items() if name != "host"
        )
        address = urlsplit(served_url)
        with socket.create_connection((address.hostname, address.port)) as connection:
            connection.sendall(head.encode() + b"\r\n" + request.read())
            assert until((tmp_path / "started").exists)
        assert until((tmp_path / "cancelled").exists), "the model went on for nobody"
        time.sleep(0.5)
        assert {p.name for p in tmp_path.iterdir()} == {"started", "cancelled"}
        assert httpx.get(f"{served_url}/v1/health", timeout=10).json()["ready"]
    finally:
        serve.delete("slow")


def version_of_packaged_bundle(folder, version):
    """A copy of the packaged bundle under another version."""
    target = folder / version
    shutil.copytree(resolve("pretrained:").removeprefix("file://"), target)
    card = json.loads((target / "card.json").read_text())
    (target / "card.json").write_text(json.dumps(card | {"version": version}))
    return target


def with_an_altered_file(bundle):
    """The bundle after a byte of one of the files that its card names has changed."""
    name = min(json.loads((bundle / "card.json").read_text())["files"])
    content = bytearray((bundle / name).read_bytes())
    content[-1] ^= 1
    (bundle / name).write_bytes(content)
    return bundle


def asking(url, content, seen):
    """One sender at work inside a block, that never tries twice; notes status and model version of each answer."""

    def work(_, ended):
        with httpx.Client(timeout=60) as client:
            while not ended.is_set():
                answer = client.post(f"{url}/v1/predict", files={"file": ("CHGCAR", content)})
                seen.append((answer.status_code, answer.json().get("model", {}).get("version")))

    return at_work(1, work)


def deploy(bundle):
    """Put a bundle in the place of the one that is served, and wait until it is."""
    serve.run(build(ServeSettings(bundle=str(bundle))), name="rolling", route_prefix="/rolling")


def test_a_bundle_that_does_not_load_never_takes_over_and_one_that_does_costs_no_request(served_url, tmp_path):
    """The old replicas answer all the while, and the state of the deployment says what is wrong with the new bundle."""
    first, altered, second = (version_of_packaged_bundle(tmp_path, name) for name in ("first", "altered", "second"))
    seen = []
    deploy(first)
    try:
        with asking(f"{served_url}/rolling", canary_file(), seen):
            with pytest.raises(RuntimeError, match="rolling"):
                deploy(with_an_altered_file(altered))
            state = serve.status().applications["rolling"]
            assert str(state.status.value) == "DEPLOY_FAILED"
            assert "was altered (SHA-256" in " ".join(d.message for d in state.deployments.values())
            until_then = len(seen)
            assert until(lambda: len(seen) > until_then + 5)
            assert set(seen) == {(200, "first")}
            deploy(second)
            until_then = len(seen)
            assert until(lambda: len(seen) > until_then + 5)
        assert set(seen) == {(200, "first"), (200, "second")}
        assert set(seen[until_then + 1 :]) == {(200, "second")}
    finally:
        serve.delete("rolling")
