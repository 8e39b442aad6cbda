"""From the bytes of one file to its answer: parse in a thread, ask the model, time each stage."""

import asyncio
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from time import perf_counter

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.inference.predictor import read_input
from serve.messages import PropertyModel
from serve.problems import Overloaded, TooSlow
from serve.schemas import Material, PredictResponse, material_of, response_of
from serve.settings import ServeSettings
from serve.uris import check_uri, read_uri


class Service:
    """What the routes do, without HTTP."""

    def __init__(self, settings: ServeSettings, model: PropertyModel) -> None:
        self.settings = settings
        self.model = model
        # Bounded, because a file takes many times its size while it is parsed.
        self._parsers = ThreadPoolExecutor(settings.parse_workers, "parse")
        self._readers = ThreadPoolExecutor(4, "read")

    async def fetch(self, uri: str) -> bytes:
        """Return the object at an allowed URI."""
        check_uri(uri, self.settings.uri_prefixes)
        limit = self.settings.max_upload_bytes
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._readers, lambda: read_uri(uri, limit=limit))

    async def predict(self, content: bytes, *, upload_seconds: float) -> PredictResponse:
        """Return the properties of the crystal in a file.

        Args:
            content: the file as it was sent.
            upload_seconds: how long it took to arrive.
        """
        start = perf_counter()
        async with self._answer_in_time():
            density, material, parse = await self._parse(content)
            answer = await self.model.predict(density)
        seconds = {
            "upload": upload_seconds,
            "parse": parse,
            "encode": answer.encode_seconds,
            "predict": answer.predict_seconds,
            "total": upload_seconds + perf_counter() - start,
        }
        return response_of(material, answer.prediction, answer.model, seconds)

    async def encode(self, content: bytes) -> np.ndarray:
        """Return the latent of the density in a file, (16, 16, 16, 16) float32."""
        async with self._answer_in_time():
            density, _, _ = await self._parse(content)
            return (await self.model.encode(density)).latent

    async def _parse(self, content: bytes) -> tuple[ChargeDensity, Material, float]:
        return await asyncio.get_running_loop().run_in_executor(
            self._parsers, _parse, content, self.settings.max_decompressed_bytes
        )

    @asynccontextmanager
    async def _answer_in_time(self) -> AsyncIterator[None]:
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as error:
            raise Overloaded(f"no answer within {limit:g} s") from error

    @asynccontextmanager
    async def arrive_in_time(self) -> AsyncIterator[None]:
        """Refuse a body that is still on its way after the time limit, since it holds a place."""
        limit = self.settings.request_timeout_s
        try:
            async with asyncio.timeout(limit):
                yield
        except TimeoutError as error:
            raise TooSlow(f"the body was not complete within {limit:g} s") from error


def _parse(content: bytes, limit: int) -> tuple[ChargeDensity, Material, float]:
    start = perf_counter()
    density = read_input(content, limit=limit)
    return density, material_of(density), perf_counter() - start
