"""The model deployments: `Encoder` (density to latent), `Regressor` (both to properties).

Both load the same bundle and do nothing but call its Predictor, in batches and off the event loop,
which has to answer health checks meanwhile.
"""

import asyncio
import logging
from collections.abc import Callable
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
from serve.logs import log_through_serve
from serve.messages import Answer, Decoded, Encoded, ModelId
from serve.metrics import BatchMetrics
from serve.problems import RETRY_AFTER_SECONDS, Overloaded
from serve.settings import LARGEST_BATCH, ServeSettings

logger = logging.getLogger(__name__)
Result = TypeVar("Result")

# One batch at work and one that fills; beyond that and the queue, Serve refuses at once.
MAX_ONGOING_REQUESTS = 2 * LARGEST_BATCH
MAX_QUEUED_REQUESTS = 64
LATENT_SHAPE = (16, 16, 16, 16)
_OVERLOAD = {"status_code": 503, "retry_after_s": RETRY_AFTER_SECONDS}


def canary() -> ChargeDensity:
    """Return a small density that any sound bundle can predict: two Si atoms and eight electrons.

    A replica works through it before it is called ready, and again after an unexpected error.
    """
    n = 12
    wave = np.cos(2 * np.pi * np.arange(n) / n)
    shape = 1.0 + 0.2 * (wave[:, None, None] + wave[None, :, None] + wave[None, None, :])
    lattice = 2.715 * (np.ones((3, 3)) - np.eye(3))
    volume = float(abs(np.linalg.det(lattice)))
    return ChargeDensity(
        values=shape * (8.0 / volume),
        lattice=lattice,
        species=("Si", "Si"),
        frac_coords=np.array([[0.0, 0.0, 0.0], [0.25, 0.25, 0.25]]),
    )


def encode_canary(predictor: Predictor) -> np.ndarray:
    """Return the canary's latents, which must be finite numbers of the right shape."""
    latents = predictor.encode([canary()])
    if latents.shape != (1, *LATENT_SHAPE) or not np.isfinite(latents).all():
        raise RuntimeError(f"the encoder gives {latents.shape}, expected finite (1, 16, 16, 16, 16)")
    return latents


def predict_canary(predictor: Predictor) -> None:
    """Predict the canary; every value must be a finite number."""
    (prediction,) = predictor.predict([canary()], encode_canary(predictor))
    values = [value for p in prediction.properties for value in (p.value, p.lower, p.upper)]
    if not values or not np.isfinite(values).all():
        raise RuntimeError(f"the regressors give {values}, expected finite numbers")


def decode_or_refusal(
    trained: TrainedAutoencoder, latent: np.ndarray, *, seen: Shape, shape: Shape
) -> np.ndarray | InputRefused:
    """Return the decoded density, or why there is none: a refusal does not make a replica suspect."""
    try:
        return decode_latent(trained, latent, seen=seen, shape=shape)
    except InputRefused as refusal:
        return refusal


class _Worker:
    """A loaded predictor, the seconds of its calls, and whether it may be trusted."""

    def __init__(self, name: str, settings: ServeSettings, probe: Callable[[Predictor], object]) -> None:
        log_through_serve()
        self.predictor = Predictor.load(settings.bundle)
        self.model = ModelId(self.predictor.name, self.predictor.version)
        self.metrics = BatchMetrics(name, self.model)
        self._probe = probe
        self._is_suspect = False
        probe(self.predictor)
        logger.info("ready with %s %s", self.model.name, self.model.version)

    async def run(self, work: Callable[[], Result]) -> tuple[Result, float]:
        """Return the result of `work`, done in a thread, and its seconds."""
        start = perf_counter()
        try:
            return await asyncio.to_thread(work), perf_counter() - start
        except Exception:
            self._is_suspect = True
            raise

    async def check(self) -> None:
        """Raise, so that Serve replaces the replica, when an unexpected error was no accident."""
        if self._is_suspect:
            await asyncio.to_thread(self._probe, self.predictor)
            self._is_suspect = False


@serve.deployment(
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    backpressure_config=_OVERLOAD,
    health_check_timeout_s=60,
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
            Overloaded: the latent is of another bundle, as happens while one is being replaced.
        """
        if encoded.model != self._worker.model:
            raise Overloaded("the model is being replaced by another version")
        trained = self._worker.predictor.bundle.autoencoder
        values, seconds = await self._worker.run(
            lambda: decode_or_refusal(trained, encoded.latent, seen=seen, shape=shape)
        )
        return Decoded(result_or_raise(values).astype(np.float32), seconds)

    async def identity(self) -> ModelId:
        """Return which bundle is loaded."""
        return self._worker.model

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds."""
        await self._worker.check()


@serve.deployment(
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=MAX_ONGOING_REQUESTS,
    max_queued_requests=MAX_QUEUED_REQUESTS,
    backpressure_config=_OVERLOAD,
    health_check_timeout_s=60,
)
class Regressor:
    """Density and latent to properties, in batches; holds the model card."""

    def __init__(self, settings: ServeSettings | None = None) -> None:
        settings = settings or ServeSettings()
        self._worker = _Worker("Regressor", settings, predict_canary)
        self._predict_batch.set_max_batch_size(settings.max_batch_size)
        self._predict_batch.set_batch_wait_timeout_s(settings.batch_wait_timeout_s)

    async def predict(self, density: ChargeDensity, encoded: Encoded) -> Answer:
        """Return the properties of one density.

        Raises:
            Overloaded: the latent is of another bundle, as happens while one is being replaced.
        """
        if encoded.model != self._worker.model:
            raise Overloaded("the model is being replaced by another version")
        prediction, seconds = await self._predict_batch((density, encoded.latent))
        return Answer(result_or_raise(prediction), self._worker.model, encoded.seconds, seconds)

    @serve.batch(max_batch_size=LARGEST_BATCH)
    async def _predict_batch(
        self, pairs: list[tuple[ChargeDensity, np.ndarray]]
    ) -> list[tuple[Prediction | InputRefused, float]]:
        predict = self._worker.predictor.predict
        predictions, seconds = await self._worker.run(
            lambda: each_or_refusal(
                lambda some: predict([d for d, _ in some], np.stack([latent for _, latent in some])),
                pairs,
            )
        )
        self._worker.metrics.called(len(pairs), seconds)
        return [(prediction, seconds) for prediction in predictions]

    async def identity(self) -> ModelId:
        """Return which bundle is loaded."""
        return self._worker.model

    async def card(self) -> dict[str, Any]:
        """Return the bundle's model card."""
        return self._worker.predictor.card

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds."""
        await self._worker.check()
