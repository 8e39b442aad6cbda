"""On a real Serve: a replica that is killed costs no answer, and who goes away takes his work along."""

import asyncio
import os
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
from serve.app import Api
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
