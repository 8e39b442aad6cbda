"""The deployments behind the ingress: `Parser` (file to density), `Encoder` (to latent), `Regressor` (to properties).

The last two load the same bundle and do nothing but call its Predictor, in batches. All work is off the event loop,
which has to answer health checks meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from time import perf_counter
from typing import Any, TypeVar

import numpy as np
from ray import serve

from rhoray.core.errors import InputRefused
from rhoray.density.charge_density import ChargeDensity
from rhoray.inference.prediction import Prediction
from rhoray.inference.predictor import Predictor
from rhoray.inference.reconstruct import Shape, decode_latent
from rhoray.models.encoder_files import TrainedAutoencoder
from serve.batching import each_or_refusal, result_or_raise
from serve.canary import encode_canary, parse_canary, predict_canary
from serve.health import Proof
from serve.logs import log_through_serve
from serve.messages import Answer, Decoded, Encoded, ModelId, Parsed
from serve.metrics import BatchMetrics
from serve.parsing import FileParser
from serve.problems import OtherVersion
from serve.scaling import COMMON, scaling
from serve.settings import LARGEST_BATCH, ServeSettings

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# One batch at work and one that fills; beyond that and the queue, Serve refuses at once.
MAX_ONGOING_REQUESTS = 2 * LARGEST_BATCH
MAX_QUEUED_REQUESTS = 64


def decode_or_refusal(
    trained: TrainedAutoencoder, latent: np.ndarray, *, seen: Shape, shape: Shape
) -> np.ndarray | InputRefused:
    """Return the decoded density, or why there is none: a refusal does not make a replica suspect."""
    try:
        return decode_latent(trained, latent, seen=seen, shape=shape)
    except InputRefused as refusal:
        return refusal


class _Worker:
    """A loaded predictor, the seconds of its calls, and the proof that it works."""

    def __init__(self, name: str, settings: ServeSettings, probe: Callable[[Predictor], object]) -> None:
        log_through_serve()
        self.predictor = Predictor.load(settings.bundle)
        self.model = ModelId(self.predictor.name, self.predictor.version)
        self.metrics = BatchMetrics(name, self.model)
        self.proof = Proof(lambda: probe(self.predictor))
        probe(self.predictor)
        logger.info("ready with %s %s", self.model.name, self.model.version)

    async def run(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Return the result of `work`, done in a thread, and its seconds."""
        start = perf_counter()
        try:
            result = await asyncio.to_thread(work)
        except Exception:
            self.proof.failed()
            raise
        self.proof.worked()
        return result, perf_counter() - start


# Waiting files are memory: what does not fit is refused while its sender still has it.
MAX_PARSES = 8
MAX_QUEUED_PARSES = 32


@serve.deployment(
    **COMMON,
    max_ongoing_requests=MAX_PARSES,
    max_queued_requests=MAX_QUEUED_PARSES,
    autoscaling_config=scaling(target=MAX_PARSES / 4),
)
class Parser:
    """File to density, a few at once; a file that breaks the process takes no other stage with it."""

    def __init__(self, settings: ServeSettings | None = None) -> None:
        log_through_serve()
        settings = settings or ServeSettings()
        self._files = FileParser(settings.parse_workers, limit=settings.max_decompressed_bytes)
        self._proof = Proof(parse_canary)
        parse_canary()

    async def parse(self, content: bytes, *, keep_given: bool = False) -> Parsed | InputRefused:
        """Return the density in a file, and on request the one on its own grid; or why the file is refused.

        A refusal is returned: Serve logs what is raised as its own failure, with a traceback.
        """
        try:
            parsed = await self._files.parse(content, keep_given=keep_given)
        except InputRefused as refusal:
            return refusal
        self._proof.worked()
        return parsed

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds."""
        await self._proof.check()


@serve.deployment(
    **COMMON,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    autoscaling_config=scaling(target=LARGEST_BATCH / 2),
)
class Encoder:
    """Density to latent, in batches."""

    def __init__(self, settings: ServeSettings | None = None) -> None:
        settings = settings or ServeSettings()
        self._worker = _Worker("Encoder", settings, encode_canary)
        self._encode_batch.set_max_batch_size(settings.max_batch_size)
        self._encode_batch.set_batch_wait_timeout_s(settings.batch_wait_timeout_s)

    async def encode(self, density: ChargeDensity) -> Encoded:
        """Return the latent of one density, computed with those that arrive at the same time."""
        return result_or_raise(await self._encode_batch(density))

    @serve.batch(max_batch_size=LARGEST_BATCH)
    async def _encode_batch(self, densities: list[ChargeDensity]) -> list[Encoded | InputRefused]:
        encode = self._worker.predictor.encode
        latents, seconds = await self._worker.run(lambda: each_or_refusal(lambda some: list(encode(some)), densities))
        self._worker.metrics.called(len(densities), seconds)
        return [
            entry if isinstance(entry, InputRefused) else Encoded(entry, self._worker.model, seconds)
            for entry in latents
        ]

    async def decode(self, encoded: Encoded, *, seen: Shape, shape: Shape) -> Decoded:
        """Return the density that a latent of this bundle stands for.

        Raises:
            NoReconstruction: the bundle's frame does not hold the whole cell.
            OtherVersion: the latent is of another bundle, as happens while one is being replaced.
        """
        if encoded.model != self._worker.model:
            raise OtherVersion("the model is being replaced by another version")
        trained = self._worker.predictor.bundle.autoencoder
        values, seconds = await self._worker.run(
            lambda: decode_or_refusal(trained, encoded.latent, seen=seen, shape=shape)
        )
        return Decoded(result_or_raise(values).astype(np.float32), seconds)

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds."""
        await self._worker.proof.check()


@serve.deployment(
    **COMMON,
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    autoscaling_config=scaling(target=LARGEST_BATCH / 2),
)
class Regressor:
    """Density and latent to properties, in batches; holds the model card."""

    def __init__(self, settings: ServeSettings | None = None) -> None:
        settings = settings or ServeSettings()
        self._worker = _Worker("Regressor", settings, predict_canary)
        self._predict_batch.set_max_batch_size(settings.max_batch_size)
        self._predict_batch.set_batch_wait_timeout_s(settings.batch_wait_timeout_s)

    async def predict(self, density: ChargeDensity, encoded: Encoded | None) -> Answer:
        """Return the properties of one density.

        Where the latent is missing though it is needed, or of another bundle, as comes while one is being replaced, it
        is made here: every request gets an answer, and each answer is one bundle's.
        """
        worker = self._worker
        needs_latent = worker.predictor.needs_latent
        if needs_latent and (encoded is None or encoded.model != worker.model):
            (latent,), seconds = await worker.run(lambda: worker.predictor.encode([density]))
            encoded = Encoded(latent, worker.model, seconds)
        latent = encoded.latent if encoded and needs_latent else None
        prediction, seconds = await self._predict_batch((density, latent))
        return Answer(
            result_or_raise(prediction), worker.model, encoded.seconds if encoded else 0.0, seconds, needs_latent
        )

    @serve.batch(max_batch_size=LARGEST_BATCH)
    async def _predict_batch(
        self, pairs: list[tuple[ChargeDensity, np.ndarray | None]]
    ) -> list[tuple[Prediction | InputRefused, float]]:
        def work(some: Sequence[tuple[ChargeDensity, np.ndarray | None]]) -> list[Prediction]:
            latents = [latent for _, latent in some if latent is not None]
            return self._worker.predictor.predict([d for d, _ in some], np.stack(latents) if latents else None)

        predictions, seconds = await self._worker.run(lambda: each_or_refusal(work, pairs))
        self._worker.metrics.called(len(pairs), seconds)
        return [(prediction, seconds) for prediction in predictions]

    async def card(self) -> dict[str, Any]:
        """Return the bundle's model card."""
        return self._worker.predictor.card

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds."""
        await self._worker.proof.check()
