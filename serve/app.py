"""The Serve application: `serve run serve.app:app`.

    request -> Api (HTTP, limits) -> Parser (density) -> Encoder (latent) -> Regressor (properties) -> answer

A light file is read by the Api, and latents are made only where the bundle's regressors look at them: such a request
makes one way, to a Regressor.

Each deployment has its own replicas, queue and scaling. A second bundle beside the first is a second application with
another route_prefix; a newer one in its place is a redeployment (docs/how-to/serve-two-versions.md).

Importing this module reads no settings and loads nothing; each replica does that when it starts.
"""

import asyncio
import contextlib
from typing import Any, cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from serve.deployments import Encoder, Parser, Regressor
from serve.logs import log_through_serve
from serve.parsing import FileParser
from serve.remote import RemoteModel
from serve.routes import build_api
from serve.scaling import COMMON, scaling
from serve.settings import LARGEST_LOAD, ServeSettings

# Requests of one ingress replica, which only passes them on.
TARGET_REQUESTS = 24
WARM_UP_SECONDS = 20.0


# Of what is too much, the ingress refuses a little itself and Serve's proxy the rest: a request that comes as far as
# the ingress costs the processes that answer more than one that does not, and makes the accepted ones wait.
@serve.deployment(
    **COMMON,
    max_ongoing_requests=LARGEST_LOAD,
    max_queued_requests=LARGEST_LOAD // 2,
    autoscaling_config=scaling(target=TARGET_REQUESTS),
)
@serve.ingress()
class Api:
    """The ingress: HTTP in front, handles to the model deployments behind."""

    def __init__(
        self,
        parser: DeploymentHandle,
        encoder: DeploymentHandle,
        regressor: DeploymentHandle,
        settings: ServeSettings | None = None,
    ) -> None:
        log_through_serve()
        self._settings = settings or ServeSettings()
        files = FileParser(self._settings.parse_workers, limit=self._settings.max_decompressed_bytes)
        self._model = RemoteModel(parser, encoder, regressor, files)
        self._is_warm = False

    async def check_health(self) -> None:
        """Serve's hook, called every few seconds and once before the replica gets requests.

        That first time a tiny crystal opens the ways to the other stages, for which the first request would have to
        wait. What is wrong there is no fault of this replica: they have their own checks.
        """
        if self._is_warm:
            return
        self._is_warm = True
        with contextlib.suppress(Exception):
            async with asyncio.timeout(WARM_UP_SECONDS):
                await self._model.identity()

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve's hook: the HTTP app, built in the replica because it depends on its settings."""
        return build_api(self._settings, self._model, behind_serve=True)


def build(settings: ServeSettings) -> Application:
    """Return the graph with settings given here: `serve run serve.app:build bundle=s3://…`.

    Args:
        settings: what is not given comes from the environment of whoever builds the graph.
    """
    scale = settings.model_dump(include={"min_replicas", "max_replicas", "upscale_delay_s", "downscale_delay_s"})
    return _graph(*(_scaled(deployment, scale) for deployment in GRAPH), settings=(settings,))


def _scaled(deployment: Deployment, scale: dict[str, Any]) -> Deployment:
    config = deployment._deployment_config.autoscaling_config  # noqa: SLF001 - Serve has no public way to read it
    return deployment.options(autoscaling_config=config.model_dump(exclude_unset=True) | scale)


def _graph(
    api: Deployment,
    parser: Deployment,
    encoder: Deployment,
    regressor: Deployment,
    *,
    settings: tuple[ServeSettings, ...] = (),
) -> Application:
    """Bind the deployments; without settings, each replica reads its own environment."""
    behind = [deployment.bind(*settings) for deployment in (parser, encoder, regressor)]
    return api.bind(*behind, *settings)


GRAPH = cast("tuple[Deployment, Deployment, Deployment, Deployment]", (Api, Parser, Encoder, Regressor))
app = _graph(*GRAPH)
