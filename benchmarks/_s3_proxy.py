"""A proxy before an S3 server that counts requests and, on demand, refuses, delays or drops them.

    with faulty_storage(store) as proxy:
        os.environ.update(proxy.environment)
        proxy.set(refuse=0.1)

It runs in a process of its own. Signatures hold, for it passes on the Host that the client signed.
"""

import argparse
import asyncio
import contextlib
import json
import random
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from aiohttp import ClientSession, TCPConnector, web
from yarl import URL

from rhoray.local.object_store import ObjectStore
from rhoray.local.ports import HOST, free_port

CONTROL = "/__faults"
HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding", "te", "trailer", "upgrade", "expect"}
MOST_BYTES = 2**30
SLOW_DOWN = (
    "<?xml version='1.0'?><Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
START_TIMEOUT_S = 20


@dataclass
class Faults:
    """What happens to requests.

    Attributes:
        refuse: share that is answered 503 SlowDown.
        delay_s: before every answer.
        cut: whether every connection is dropped without an answer.
    """

    refuse: float = 0.0
    delay_s: float = 0.0
    cut: bool = False


class _Proxy:
    def __init__(self, upstream: str, seed: int) -> None:
        self.upstream = upstream
        self.faults = Faults()
        self.random = random.Random(seed)  # noqa: S311 - no secret
        self.counts: Counter[str] = Counter()
        self.session: ClientSession | None = None

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.path == CONTROL:
            return await self.control(request)
        body = await request.read()
        self.counts[request.method] += 1
        if self.faults.cut:
            self.counts["dropped"] += 1
            assert request.transport is not None
            request.transport.abort()
            return web.Response(status=500)
        await asyncio.sleep(self.faults.delay_s)
        if self.random.random() < self.faults.refuse:
            self.counts["refused"] += 1
            return web.Response(status=503, text=SLOW_DOWN, content_type="application/xml")
        return await self.forward(request, body)

    async def close(self, app: web.Application) -> None:
        del app
        if self.session:
            await self.session.close()

    async def control(self, request: web.Request) -> web.Response:
        if request.method == "POST":
            self.faults = Faults(**await request.json())
        return web.json_response(self.counts)

    async def forward(self, request: web.Request, body: bytes) -> web.Response:
        self.session = self.session or ClientSession(auto_decompress=False, connector=TCPConnector(limit=0))
        headers = [(k, v) for k, v in request.headers.items() if k.lower() not in HOP_BY_HOP]
        url = URL(self.upstream + request.raw_path, encoded=True)
        async with self.session.request(
            request.method, url, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            kept = [(k, v) for k, v in answer.headers.items() if k.lower() not in HOP_BY_HOP]
            return web.Response(status=answer.status, body=await answer.read() or None, headers=kept)


@dataclass(frozen=True)
class FaultyStorage:
    """A running proxy.

    Attributes:
        store: the server behind it.
        port: that it listens on.
    """

    store: ObjectStore
    port: int

    @property
    def environment(self) -> dict[str, str]:
        """The AWS variables that lead a client through it."""
        return {**self.store.environment, "AWS_ENDPOINT_URL_S3": f"http://{HOST}:{self.port}"}

    def set(self, **faults: float) -> None:
        """Replace the faults; none means that all is well."""
        self._ask(json.dumps(faults).encode())

    def counts(self) -> Counter[str]:
        """Return requests by method so far, and how many were refused or dropped."""
        return Counter(self._ask(None))

    def _ask(self, body: bytes | None) -> dict[str, int]:
        request = urllib.request.Request(
            f"http://{HOST}:{self.port}{CONTROL}", body, {"Content-Type": "application/json"}
        )
        with urllib.request.urlopen(request, timeout=10) as answer:  # noqa: S310
            return json.loads(answer.read())


@contextlib.contextmanager
def faulty_storage(store: ObjectStore, seed: int = 0) -> Iterator[FaultyStorage]:
    """Run a proxy inside the block."""
    proxy = FaultyStorage(store, free_port())
    command = [sys.executable, __file__, "--port", str(proxy.port), "--upstream", store.endpoint, "--seed", str(seed)]
    process = subprocess.Popen(command)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while True:
            try:
                proxy.counts()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    raise
                time.sleep(0.1)
        yield proxy
    finally:
        process.terminate()
        process.wait()


def main() -> None:
    """Run a proxy until it is terminated."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--upstream", required=True)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    app = web.Application(client_max_size=MOST_BYTES)
    proxy = _Proxy(args.upstream, args.seed)
    app.router.add_route("*", "/{path:.*}", proxy.handle)
    app.on_cleanup.append(proxy.close)
    web.run_app(app, host=HOST, port=args.port, print=None, access_log=None)


if __name__ == "__main__":
    main()
