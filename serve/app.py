"""The Serve application: `serve run serve.app:app`.

    request -> Api (HTTP, limits, parsing) -> Encoder (latent) -> Regressor (properties) -> answer

Importing this module reads no settings and loads nothing; each replica does that when it starts.
"""

from typing import cast

from fastapi import FastAPI
from ray import serve
from ray.serve import Application, Deployment
from ray.serve.handle import DeploymentHandle

from serve.deployments import Encoder, Regressor
from serve.logs import log_through_serve
from serve.problems import RETRY_AFTER_SECONDS
from serve.remote import RemoteModel
from serve.routes import build_api
from serve.settings import ServeSettings


# Serve takes in more requests than `max_concurrent_requests`, so that it is us who refuse the
# rest, with a problem document; beyond these numbers its proxy answers 503 in plain text.
@serve.deployment(
    ray_actor_options={"num_cpus": 0.2},
    max_ongoing_requests=256,
    max_queued_requests=64,
    backpressure_config={"status_code": 503, "retry_after_s": RETRY_AFTER_SECONDS},
)
@serve.ingress()
class Api:
    """The ingress: HTTP in front, handles to the model deployments behind."""

    def __init__(
        self,
        encoder: DeploymentHandle,
        regressor: DeploymentHandle,
        settings: ServeSettings | None = None,
    ) -> None:
        log_through_serve()
        self._settings = settings or ServeSettings()
        self._model = RemoteModel(encoder, regressor)

    def __serve_build_asgi_app__(self) -> FastAPI:
        """Serve's hook: the HTTP app, built in the replica because it depends on its settings."""
        return build_api(self._settings, self._model, behind_serve=True)


def build(settings: ServeSettings) -> Application:
    """Return the graph with settings given here: `serve run serve.app:build bundle=s3://…`.

    Args:
        settings: what is not given comes from the environment of whoever builds the graph.
    """
    return _graph(settings)


def _graph(*settings: ServeSettings) -> Application:
    """Bind the deployments; without settings, each replica reads its own environment."""
    encoder = cast("Deployment", Encoder).bind(*settings)
    regressor = cast("Deployment", Regressor).bind(*settings)
    return cast("Deployment", Api).bind(encoder, regressor, *settings)


app = _graph()
