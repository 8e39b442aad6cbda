"""Faults under load: kill -9 of each process of the endpoint, a redeployment to another bundle, overload, scaling.

    python bench_serve_faults.py faults      clients at work while one process after another dies
    python bench_serve_faults.py overload    five times as many requests as it can answer
    python bench_serve_faults.py scaling     a load that lasts brings a second replica, which goes after it

A real Ray Serve on this machine, of two replicas a stage but for the last. A request that a client, with its retries,
gets no answer to is lost; an answer that is not that of an undisturbed endpoint is wrong. Both must be 0.
"""

import argparse
import asyncio
import itertools
import json
import os
import shutil
import signal
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import ray
import requests
from _clients import at_work
from _results import write_result
from ray import serve
from urllib3.filepost import encode_multipart_formdata

from rhoray.client import Client
from rhoray.density.crystal import structure_of
from rhoray.density.read import read_density
from rhoray.density.vasp import write_chgcar
from rhoray.local.ports import free_port
from rhoray.local.processes import descendants, title
from rhoray.registry.bundle import resolve
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density
from serve.app import build
from serve.settings import ServeSettings

# What serve/config.yaml asks every node to have before Ray starts.
NODE = {
    "RAY_AUTH_MODE": "disabled",
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.edge:middlewares",
    "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "1",
}
APP = "rhoray"
CLIENTS = 4
REPLICAS = 2
STAGES = ("Api", "Parser", "Encoder", "Regressor")
QUIET_SECONDS = 5.0
# Until then Serve may still count a replica that is dead.
NOTICED_SECONDS = 3.0
LONGEST_WINDOW = 60.0
OVERLOAD_FACTOR = 5
OVERLOAD_SECONDS = 30.0
SHIPPED = ServeSettings()
SCALING_CLIENTS = 16
DOWNSCALE_SECONDS = 15.0
STEADY_SECONDS = 30.0
LONGEST_SCALING = 120.0
Numbers = tuple[float, ...]


@dataclass
class Tally:
    """What clients saw: each try, each answer."""

    tries: list[tuple[float, str]] = field(default_factory=list)
    answers: list[tuple[float, float, str, Numbers]] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)

    def since(self, start: float) -> "Tally":
        """Return what was seen from a moment on."""
        tries = [seen for seen in self.tries if seen[0] >= start]
        return Tally(tries, [seen for seen in self.answers if seen[0] >= start], self.lost[:])


class Noting(requests.Session):
    """A session that notes how each try ended."""

    def __init__(self, tally: Tally) -> None:
        super().__init__()
        self._tally = tally

    def request(self, *args: object, **kwargs: object) -> requests.Response:
        """Send one try."""
        try:
            response = super().request(*args, **kwargs)
        except requests.RequestException as error:
            self._tally.tries.append((time.monotonic(), type(error).__name__))
            raise
        kind = str(response.status_code)
        if response.status_code == requests.codes.service_unavailable and "Retry-After" not in response.headers:
            kind += " without Retry-After"
        self._tally.tries.append((time.monotonic(), kind))
        return response


class NotingClient(Client):
    """The client as it is, with its tries noted."""

    def __init__(self, url: str, tally: Tally) -> None:
        super().__init__(url)
        self._noting = Noting(tally)

    def _session(self) -> requests.Session:
        return self._noting


def small_chgcars(count: int) -> list[bytes]:
    """Return CHGCARs of the smallest crystals of the sample's test split."""
    manifest = read_manifest(sample_uri())
    held_out = set(manifest.written[manifest.written.split == "test"].material_id)
    rows = [row for uri in manifest.shards for row in read_shard(uri) if row["material_id"] in held_out]
    rows.sort(key=lambda row: (row["grid"][0] * row["grid"][1] * row["grid"][2], row["material_id"]))
    return [write_chgcar(row_density(row)).encode() for row in rows[:count]]


def poscar(chgcar: bytes) -> bytes:
    """Return the crystal of a CHGCAR alone: a file that is no light one, so that Parser has its part of the work."""
    return structure_of(read_density(chgcar)).to(fmt="poscar").encode()


def second_version(folder: Path) -> str:
    """Return a copy of the packaged bundle under another version."""
    target = folder / "second"
    shutil.copytree(resolve("pretrained:").removeprefix("file://"), target)
    card = json.loads((target / "card.json").read_text())
    card["version"] = "second"
    (target / "card.json").write_text(json.dumps(card))
    return str(target)


def settings(bundle: str) -> ServeSettings:
    """Return what a graph of REPLICAS replicas a stage is built with."""
    return ServeSettings(bundle=bundle, min_replicas=REPLICAS, max_replicas=REPLICAS)


@contextmanager
def endpoint(chosen: ServeSettings) -> Iterator[str]:
    """Serve a graph on a Ray of our own; gives the address."""
    os.environ.update(NODE)
    ray.init(
        address="local", num_cpus=2, include_dashboard=False, object_store_memory=300 * 2**20, logging_level="ERROR"
    )
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(chosen), name=APP, route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()
    ray.shutdown()


def load(url: str, files: list[bytes], tally: Tally, clients: int = CLIENTS) -> AbstractContextManager[None]:
    """Keep several clients at work inside a block."""

    def work(number: int, ended: threading.Event) -> None:
        client = NotingClient(url, tally)
        turn = number
        while not ended.is_set():
            start = time.monotonic()
            try:
                found = client.predict(files[turn % len(files)], "CHGCAR")
            except Exception as error:  # noqa: BLE001 - whatever a client's user would have to see is a loss
                tally.lost.append(f"{type(error).__name__}: {error}")
                continue
            numbers = (float(turn % len(files)), *(p.value for p in found.properties))
            tally.answers.append((time.monotonic(), time.monotonic() - start, found.version, numbers))
            turn += 1

    return at_work(clients, work)


def pids(name: str) -> list[int]:
    """Return the processes of this Ray whose title holds `name`."""
    return [pid for pid in descendants(os.getpid()) if name in title(pid)]


def kill(name: str) -> Callable[[], None]:
    """Return what kills one process whose title holds `name`."""

    def run() -> None:
        os.kill(pids(name)[0], signal.SIGKILL)

    return run


def redeploy(bundle: str) -> Callable[[], None]:
    """Return what puts another bundle in the place of the one that is served."""

    def run() -> None:
        serve.run(build(settings(bundle)), name=APP, route_prefix="/")

    return run


def full_strength(url: str) -> bool:
    """Return whether the proxy answers and each stage has all its replicas."""
    try:
        is_up = requests.get(f"{url}/-/healthz", timeout=2).ok
    except requests.RequestException:
        return False
    deployments = serve.status().applications[APP].deployments
    return is_up and all(
        str(deployments[name].status.value) == "HEALTHY"
        and deployments[name].replica_states.get("RUNNING", 0) == REPLICAS
        for name in STAGES
    )


def observe(url: str, tally: Tally, name: str, fault: Callable[[], None]) -> dict[str, object]:
    """Inject one fault and wait until all is as before, and QUIET_SECONDS more."""
    start = time.monotonic()
    fault()
    time.sleep(NOTICED_SECONDS)
    while not full_strength(url) and time.monotonic() - start < LONGEST_WINDOW:
        time.sleep(0.25)
    strong = time.monotonic() - start
    time.sleep(QUIET_SECONDS)
    seen = tally.since(start)
    trouble = [at - start for at, kind in seen.tries if kind != "200"]
    moments = [start, *sorted(at for at, *_ in seen.answers)]
    kinds = Counter(kind for _, kind in seen.tries)
    row = {
        "fault": name,
        "answers": len(seen.answers),
        "tries": dict(kinds),
        "last trouble": max(trouble, default=0.0),
        "gap": max((b - a for a, b in itertools.pairwise(moments)), default=float("inf")),
        "worst": max((seconds for _, seconds, *_ in seen.answers), default=float("inf")),
        "strong": strong,
        "lost": len(tally.lost),
    }
    print(row, flush=True)
    return row


def faults() -> None:
    """Write what one fault after another does to clients at work."""
    chgcars = small_chgcars(3)
    files = [*chgcars, poscar(chgcars[0])]
    with tempfile.TemporaryDirectory() as folder, endpoint(settings("pretrained:")) as url:
        second = second_version(Path(folder))
        undisturbed = Client(url)
        expected = [tuple(p.value for p in undisturbed.predict(content, "CHGCAR").properties) for content in files]
        tally = Tally()
        with load(url, files, tally):
            time.sleep(QUIET_SECONDS)
            rows = [
                observe(url, tally, "none", lambda: None),
                *(
                    observe(url, tally, f"kill -9 {name}", kill(f"ServeReplica:{APP}:{name}"))
                    for name in ("Regressor", "Encoder", "Parser", "Api")
                ),
                observe(url, tally, "kill -9 the HTTP proxy", kill("ProxyActor")),
                observe(url, tally, "redeploy to another bundle", redeploy(second)),
            ]
    deviations = [
        max(abs(a / b - 1) for a, b in zip(numbers, expected[int(file)], strict=True))
        for *_, (file, *numbers) in tally.answers
    ]
    versions = Counter(version for _, _, version, _ in tally.answers)
    write_result(
        "serve-faults", "Faults under load", _fault_table(rows, tally, deviations, versions), ("ray", "rhoray")
    )


def _fault_table(rows: list[dict], tally: Tally, deviations: list[float], versions: Counter) -> str:
    head = (
        f"{CLIENTS} clients (`rhoray.client`) send the three smallest CHGCARs of the test split and a POSCAR "
        f"without a pause to {REPLICAS} replicas of each stage. `recovered`: seconds from the fault to the "
        "last try without an answer. `longest gap`: seconds in which no client got an answer. "
        "`full strength`: until every replica was back; for the redeployment, "
        "until every replica was the new bundle's. Tries that are neither `answer` nor `503` are "
        "connections that the killed process held.\n\n"
        "| fault | answers | 503 with Retry-After | connection cut | anything else | recovered, s | longest gap, s "
        "| slowest answer, s | full strength, s |\n| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n"
    )
    lines = []
    for row in rows:
        tries: dict[str, int] = dict(row["tries"])
        tries.pop("200", 0)
        refused = tries.pop("503", 0)
        cut = sum(tries.pop(kind, 0) for kind in ("ConnectionError", "ChunkedEncodingError", "ReadTimeout"))
        lines.append(
            f"| {row['fault']} | {row['answers']} | {refused} | {cut} | {sum(tries.values())} {tries or ''} "
            f"| {row['last trouble']:.1f} | {row['gap']:.1f} | {row['worst']:.1f} | {row['strong']:.1f} |\n"
        )
    answered = ", ".join(f"{count} by {version}" for version, count in versions.items())
    return (
        f"{head}{''.join(lines)}\n**{len(tally.answers)} requests answered ({answered}), {len(tally.lost)} lost, "
        f"{sum(d > 0 for d in deviations)} with another digit than the answer to the same file alone.**\n"
    )


def overload() -> None:
    """Write what becomes of requests that come five times as fast as they can be answered."""
    (content,) = small_chgcars(1)
    with endpoint(settings("pretrained:")) as url:
        tally = Tally()
        with load(url, [content], tally):
            time.sleep(QUIET_SECONDS)
            start = time.monotonic()
            time.sleep(15.0)
            capacity = len(tally.since(start).answers) / (time.monotonic() - start)
        print(f"capacity {capacity:.1f}/s", flush=True)
        seen, rate = asyncio.run(_arrivals(url, content, OVERLOAD_FACTOR * capacity))
        after = time.monotonic()
        Client(url).predict(content, "CHGCAR")
        after = time.monotonic() - after
    groups: dict[str, list[float]] = {}
    for kind, seconds in seen:
        groups.setdefault(kind, []).append(seconds)
    lines = [
        f"| {kind} | {len(times)} | {_quantile(times, 0.5):.2f} | {_quantile(times, 0.95):.2f} | {max(times):.2f} |\n"
        for kind, times in sorted(groups.items())
    ]
    body = (
        f"{CLIENTS} clients without a pause get {capacity:.1f} answers a second from {REPLICAS} replicas of each "
        f"stage. Then {rate:.1f} requests a second arrive for {OVERLOAD_SECONDS:.0f} s, whatever becomes of those "
        "before, each once; who sends them is on the same cores.\n\n| outcome | requests | p50, s | p95, s | max, s |\n"
        f"| --- | --- | --- | --- | --- |\n{''.join(lines)}\n"
        f"{len(groups.get('200', [])) / OVERLOAD_SECONDS:.1f} answers a second while overloaded; the next request "
        f"after it took {after:.2f} s.\n"
    )
    write_result("serve-overload", "Overload", body, ("ray", "rhoray"))


async def _arrivals(url: str, content: bytes, rate: float) -> tuple[list[tuple[str, float]], float]:
    """Return outcome and seconds of requests that arrive at `rate` a second, and the rate that came about."""
    seen: list[tuple[str, float]] = []
    body, kind = encode_multipart_formdata({"file": ("CHGCAR", content)})
    headers = {"Content-Type": kind}
    # Made once and sent by a client that takes little of the cores, which are the endpoint's too.
    async with aiohttp.ClientSession(url, connector=aiohttp.TCPConnector(limit=0)) as client:

        async def one() -> None:
            start = time.monotonic()
            try:
                async with client.post("/v1/predict", data=body, headers=headers) as response:
                    await response.read()
                    kind = str(response.status)
                    if "retry-after" in response.headers:
                        kind += " with Retry-After"
            except (aiohttp.ClientError, TimeoutError) as error:
                kind = type(error).__name__
            seen.append((kind, time.monotonic() - start))

        async with asyncio.TaskGroup() as group:
            start = time.monotonic()
            number = 0
            while (passed := time.monotonic() - start) < OVERLOAD_SECONDS:
                while number < passed * rate:
                    number += 1
                    group.create_task(one())
                await asyncio.sleep(1 / rate)
    return seen, number / OVERLOAD_SECONDS


def running() -> dict[str, int]:
    """Return how many replicas of each stage answer."""
    deployments = serve.status().applications[APP].deployments
    return {name: deployments[name].replica_states.get("RUNNING", 0) for name in STAGES}


def watch(until: Callable[[dict[str, int]], bool], seen: list[tuple[float, dict[str, int]]]) -> bool:
    """Note the numbers of replicas each half second; return whether they became what is waited for."""
    start = time.monotonic()
    while time.monotonic() - start < LONGEST_SCALING:
        seen.append((time.monotonic(), running()))
        if until(seen[-1][1]):
            return True
        time.sleep(0.5)
    return False


def scaling() -> None:
    """Write how replicas come under a load that lasts, and go after it."""
    files = small_chgcars(3)
    chosen = ServeSettings(downscale_delay_s=DOWNSCALE_SECONDS)
    with endpoint(chosen) as url:
        tally, grown, shrunk = Tally(), [], []
        start = time.monotonic()
        with load(url, files, tally, SCALING_CLIENTS):
            watch(lambda now: now["Regressor"] > 1, grown)
            full = time.monotonic()
            time.sleep(STEADY_SECONDS)
            ended = time.monotonic()
        # One client is left, so that a replica that goes would be missed.
        with load(url, files, tally, 1):
            watch(lambda now: all(count == 1 for count in now.values()), shrunk)
            gone = time.monotonic()
            time.sleep(QUIET_SECONDS)
    failed = Counter(kind for _, kind in tally.tries if kind != "200")
    rates = [
        sum(a < at <= b for at, *_ in tally.answers) / (b - a)
        for a, b in ((start + QUIET_SECONDS, full), (full + QUIET_SECONDS, ended))
    ]
    most = {name: max(now[name] for _, now in grown + shrunk) for name in STAGES}
    rows = [
        f"| {name} | {grown[0][1][name]} | {most[name]} | {_moment(grown + shrunk, name, start, most[name])} "
        f"| {shrunk[-1][1][name]} |\n"
        for name in STAGES
    ]
    body = (
        f"{SCALING_CLIENTS} clients without a pause on one replica of each stage, {chosen.upscale_delay_s:.0f} s to "
        f"scale up, {DOWNSCALE_SECONDS:.0f} s to scale down (by default {SHIPPED.downscale_delay_s:.0f}); then one "
        "client alone. What Serve measures, requests under way and waiting, decides.\n\n"
        "| stage | replicas at first | most | reached after, s | at the end |\n| --- | --- | --- | --- | --- |\n"
        f"{''.join(rows)}\nAnswers a second before the second regressor: {rates[0]:.1f}, with it: {rates[1]:.1f}. The "
        f"last surplus replica went {gone - ended:.0f} s after the load. {len(tally.answers)} requests answered, "
        f"{len(tally.lost)} lost, tries that failed: {sum(failed.values())} {dict(failed) or ''}\n"
    )
    write_result("serve-scaling", "Replicas that come and go with the load", body, ("ray", "rhoray"))


def _moment(seen: list[tuple[float, dict[str, int]]], name: str, start: float, count: int) -> str:
    """Return the seconds until a stage had so many replicas, nothing where it had them from the start."""
    at = next(moment for moment, now in seen if now[name] == count)
    return f"{at - start:.0f}" if count > seen[0][1][name] else ""


def _quantile(times: list[float], share: float) -> float:
    return sorted(times)[min(int(share * len(times)), len(times) - 1)]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["faults", "overload", "scaling"], nargs="?")
    chosen = parser.parse_args().part
    for part in (faults, overload, scaling):
        if chosen in (None, part.__name__):
            part()
