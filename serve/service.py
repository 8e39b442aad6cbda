"""From the bytes of one file to its answer: ask each stage of the model in turn, and time it."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import TypeVar

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.vasp import write_chgcar
from rhoray.inference.neighbours import KnownCompounds
from rhoray.inference.reconstruct import NoReconstruction, misplaced_charge
from serve.messages import Answer, Decoded, Encoded, PropertyModel
from serve.metrics import RequestMetrics
from serve.problems import OtherVersion, Overloaded, TooSlow
from serve.schemas import Material, PredictResponse, material_of, response_of
from serve.settings import ServeSettings
from serve.uris import check_uri, read_uri
from serve.views import ViewResponse, view_of

Result = TypeVar("Result")
# Replicas of both bundles stand side by side for seconds; by chance, one try in two meets the right one.
VERSION_ATTEMPTS = 6


@dataclass(frozen=True, slots=True)
class Reconstruction:
    """A CHGCAR made from a latent.

    Attributes:
        chgcar: the file, on the grid of the one that was sent.
        density_error: misplaced charge over the charge.
    """

    chgcar: bytes
    density_error: float


class Service:
    """What the routes do, without HTTP."""

    def __init__(self, settings: ServeSettings, model: PropertyModel, metrics: RequestMetrics) -> None:
        self.settings = settings
        self.model = model
        self.metrics = metrics
        self._known = KnownCompounds.of_sample()
        # What is made for the answer, of which there is less than of files to parse.
        self._writers = ThreadPoolExecutor(2, "write")
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
            parsed = await self.model.parse(content)
            answer = await self.model.predict(parsed.density)
        stages = _stages(answer, upload_seconds, parsed.seconds)
        return self._response(
            material_of(parsed.density), answer, stages | {"total": upload_seconds + perf_counter() - start}
        )

    async def view(self, content: bytes, *, upload_seconds: float) -> ViewResponse:
        """Return the properties of the crystal in a file, and what the page shows of it."""
        start = perf_counter()
        async with self._answer_in_time():
            parsed = await self.model.parse(content)
            density = parsed.density
            answer, (decoded, decode) = await _of_one_version(lambda: self._predict_and_decode(density))
            stages = _stages(answer, upload_seconds, parsed.seconds) | {"decode": decode}
            total = {"total": upload_seconds + perf_counter() - start}
            prediction = self._response(material_of(density), answer, stages | total)
            return await self._in_thread(lambda: view_of(prediction, density, decoded, self._known))

    async def encode(self, content: bytes) -> np.ndarray:
        """Return the latent of the density in a file, (16, 16, 16, 16) float32."""
        async with self._answer_in_time():
            parsed = await self.model.parse(content)
            return (await self.model.encode(parsed.density)).latent

    async def reconstruct(self, content: bytes) -> Reconstruction:
        """Return what is left of the density in a file after it went through its latent."""
        async with self._answer_in_time():
            parsed = await self.model.parse(content, keep_given=True)
            given, compact = parsed.given, parsed.density
            assert given is not None
            shape = given.values.shape

            async def there_and_back() -> Decoded:
                encoded = await self.model.encode(compact)
                return await self.model.decode(encoded, seen=compact.values.shape, shape=shape)

            decoded = await _of_one_version(there_and_back)
            return await self._in_thread(lambda: _reconstruction(given, decoded.values.astype(np.float64)))

    def _response(self, material: Material, answer: Answer, seconds: dict[str, float]) -> PredictResponse:
        response = response_of(material, answer.prediction, answer.model, seconds)
        self.metrics.predicted(
            answer.model.name, answer.model.version, in_domain=response.in_domain, seconds=response.seconds
        )
        return response

    async def _predict_and_decode(
        self, density: ChargeDensity
    ) -> tuple[Answer, tuple[tuple[np.ndarray, float] | None, float]]:
        encoded = await self.model.encode(density)
        return await asyncio.gather(self.model.predict(density, encoded), self._decode(density, encoded))

    async def _decode(self, density: ChargeDensity, encoded: Encoded) -> tuple[tuple[np.ndarray, float] | None, float]:
        """Return the reconstruction on the density's own grid with its error, or None, and the seconds it took."""
        shape = density.values.shape
        try:
            decoded = await self.model.decode(encoded, seen=shape, shape=shape)
        except NoReconstruction:
            return None, 0.0
        values = decoded.values.astype(np.float64)
        return (values, misplaced_charge(values, density.values)), decoded.seconds

    async def _in_thread(self, work: Callable[[], Result]) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._writers, work)

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


async def _of_one_version(work: Callable[[], Awaitable[Result]]) -> Result:
    """Return the result of `work`, repeated while its latent meets a replica of another bundle."""
    for _ in range(VERSION_ATTEMPTS):
        with contextlib.suppress(OtherVersion):
            return await work()
    return await work()


def _reconstruction(given: ChargeDensity, values: np.ndarray) -> Reconstruction:
    decoded = ChargeDensity(values, given.lattice, given.species, given.frac_coords, given.kind)
    return Reconstruction(write_chgcar(decoded).encode(), misplaced_charge(values, given.values))


def _stages(answer: Answer, upload: float, parse: float) -> dict[str, float]:
    return {
        "upload": upload,
        "parse": parse,
        "encode": answer.encode_seconds,
        "predict": answer.predict_seconds,
    }
