"""The model behind deployment handles: another try when a replica dies, Ray's errors made ours."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Any, TypeVar

from ray.exceptions import ObjectLostError, RayActorError, RayError, RayTaskError
from ray.serve.exceptions import BackPressureError, DeploymentUnavailableError, RayServeException
from ray.serve.handle import DeploymentHandle, DeploymentResponse

from rhoray.density.charge_density import ChargeDensity
from rhoray.inference.reconstruct import Shape
from serve.batching import result_or_raise
from serve.canary import canary, canary_file
from serve.messages import Answer, Decoded, Encoded, ModelId, Parsed
from serve.parsing import FileParser
from serve.problems import Overloaded

logger = logging.getLogger(__name__)
Result = TypeVar("Result")
ATTEMPTS = 3
REPLICA_LOST = (RayActorError, ObjectLostError)
FRESH_SECONDS = 10.0


class RemoteModel:
    """PropertyModel over the handles of Parser, Encoder and Regressor; light files are read here."""

    def __init__(
        self,
        parser: DeploymentHandle,
        encoder: DeploymentHandle,
        regressor: DeploymentHandle,
        light_files: FileParser,
    ) -> None:
        """Take the handles, and who reads light files here.

        Args:
            parser: of Parser.
            encoder: of Encoder.
            regressor: of Regressor.
            light_files: reads the files that are not worth the way to a Parser.
        """
        self._parser = parser
        self._light_files = light_files
        self._encoder = encoder
        self._regressor = regressor
        self._last_seen: tuple[ModelId, float] | None = None
        self._parser_seen = float("-inf")
        self._needs_latent = True

    async def parse(self, content: bytes, *, keep_given: bool = False) -> Parsed:
        """Return the density in a file, which is read here if it is light."""
        parsed = await self._light_files.parse_light(content, keep_given=keep_given)
        return parsed or await self._ask_parser(content, keep_given=keep_given)

    async def _ask_parser(self, content: bytes, *, keep_given: bool = False) -> Parsed:
        parsed = await call(lambda: self._parser.parse.remote(content, keep_given=keep_given))
        self._parser_seen = monotonic()
        return result_or_raise(parsed)

    async def encode(self, density: ChargeDensity) -> Encoded:
        """Return the latent of one density."""
        return await call(lambda: self._encoder.encode.remote(density))

    async def predict(self, density: ChargeDensity, encoded: Encoded | None = None) -> Answer:
        """Return the properties of one density; it is encoded if the last answer's bundle looks at latents."""
        latent = encoded or (await self.encode(density) if self._needs_latent else None)
        answer = await call(lambda: self._regressor.predict.remote(density, latent))
        self._last_seen = answer.model, monotonic()
        self._needs_latent = answer.needs_latent
        return answer

    async def decode(self, encoded: Encoded, *, seen: Shape, shape: Shape) -> Decoded:
        """Return the density that a latent stands for."""
        return await call(lambda: self._encoder.decode.remote(encoded, seen=seen, shape=shape))

    async def card(self) -> dict[str, Any]:
        """Return the bundle's model card."""
        return await call(self._regressor.card.remote)

    async def identity(self) -> ModelId:
        """Return name and version of the bundle that predicts: a tiny crystal goes all the way through.

        A recent prediction is proof enough, and so is a file that a parser has read: under load the canary would wait
        behind the others, and the endpoint would look dead when it is busy.
        """
        now = monotonic()
        if now - self._parser_seen >= FRESH_SECONDS:
            await self._ask_parser(canary_file())
        if self._last_seen and now - self._last_seen[1] < FRESH_SECONDS:
            return self._last_seen[0]
        return (await self.predict(canary())).model


async def call(send: Callable[[], Awaitable[Result]]) -> Result:
    """Await what `send` starts, once more if the replica died: model calls change nothing.

    Who stops waiting cancels the call, wherever it is.

    Raises:
        Overloaded: the queues are full or no replica answers.
        RhoRayError: whatever the deployment raised on purpose.
    """
    for _ in range(ATTEMPTS):
        response = send()
        try:
            return await response
        except asyncio.CancelledError:
            if isinstance(response, DeploymentResponse):
                response.cancel()
            raise
        except (RayError, RayServeException) as error:
            cause = _cause_of(error)
            if isinstance(cause, BackPressureError | DeploymentUnavailableError):
                raise Overloaded("the model's queue is full") from error
            if cause is error and not isinstance(cause, REPLICA_LOST):
                raise
            if not isinstance(cause, REPLICA_LOST):
                raise cause from error
            logger.warning("a model replica was lost: %s", cause)
    raise Overloaded("the model's replicas are being restarted")


def _cause_of(error: BaseException) -> BaseException:
    """Return what was raised where it happened.

    Each deployment on the way back wraps it once; and Serve's router hides the death of the replica
    whose result was an argument behind a bare RayServeException.
    """
    if type(error) is RayServeException and error.__cause__ is not None:
        error = error.__cause__
    while isinstance(error, RayTaskError) and isinstance(error.cause, BaseException):
        error = error.cause
    return error
