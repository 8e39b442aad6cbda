"""serve/config.yaml says what Ray understands; Ray itself ignores keys that it does not know."""

from pathlib import Path

import pytest
import yaml
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import (
    DeploymentSchema,
    LoggingConfig,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from rhoray.command.serve import NODE
from serve.app import GRAPH, app, build
from serve.deployments import MAX_ONGOING_REQUESTS
from serve.health import PROBE_DEADLINE_S
from serve.settings import LARGEST_BATCH, ServeSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "serve" / "config.yaml").read_text())


def names(model):
    return set(model.model_fields)


def test_ray_accepts_it(config):
    ServeDeploySchema.model_validate(config)


def unknown_keys(config):
    yield from set(config) - names(ServeDeploySchema)
    yield from set(config["http_options"]) - names(HTTPOptions)
    for application in config["applications"]:
        yield from set(application) - names(ServeApplicationSchema)
        yield from set(application["logging_config"]) - names(LoggingConfig)
        for deployment in application["deployments"]:
            yield from set(deployment) - names(DeploymentSchema)
            yield from set(deployment.get("autoscaling_config", {})) - names(AutoscalingConfig)
            yield from set(deployment["ray_actor_options"]) - names(RayActorOptionsSchema)


def test_no_unknown_keys(config):
    assert list(unknown_keys(config)) == []


def test_every_deployment_is_configured_once(config):
    (application,) = config["applications"]
    assert [d["name"] for d in application["deployments"]] == ["Api", "Parser", "Encoder", "Regressor"]
    assert app._bound_deployment.name == "Api"


def test_autoscaling_has_room(config):
    for deployment in config["applications"][0]["deployments"]:
        scaling = deployment.get("autoscaling_config")
        if scaling:
            assert scaling["min_replicas"] < scaling["max_replicas"]


@pytest.mark.parametrize("deployment", GRAPH, ids=lambda d: d.name)
def test_every_stage_is_bounded_drained_and_watched(deployment):
    config = deployment._deployment_config
    assert config.max_queued_requests > 0
    assert (config.backpressure_config.status_code, config.backpressure_config.retry_after_s) == (503, 1)
    assert config.graceful_shutdown_timeout_s > ServeSettings().request_timeout_s
    assert config.health_check_period_s <= 5
    assert config.health_check_timeout_s > PROBE_DEADLINE_S
    assert config.max_surge_percent > 0, "old replicas would stop before new ones are ready"


def test_scale_is_a_setting():
    graph = build(ServeSettings(min_replicas=3, max_replicas=5, downscale_delay_s=15))
    scaling = graph._bound_deployment._deployment_config.autoscaling_config
    assert (scaling.min_replicas, scaling.max_replicas) == (3, 5)
    assert (scaling.upscale_delay_s, scaling.downscale_delay_s) == (10, 15)
    assert scaling.target_ongoing_requests == GRAPH[0]._deployment_config.autoscaling_config.target_ongoing_requests


def test_a_misspelt_key_is_found(config):
    """What guards this file must be able to fail: Ray takes these without a word."""
    config["applications"][0]["deployments"][0]["autoscaling_config"]["max_replica"] = 9
    config["htpp_options"] = {}
    ServeDeploySchema.model_validate(config)
    assert set(unknown_keys(config)) == {"htpp_options", "max_replica"}


def test_serve_waits_longer_than_we_do(config):
    assert config["http_options"]["request_timeout_s"] > 2 * ServeSettings().request_timeout_s


@pytest.mark.parametrize("file", ["serve/config.yaml", "infra/images/Containerfile", "Makefile"])
def test_every_way_to_start_asks_the_same_of_a_node(file):
    text = (ROOT / file).read_text()
    assert [f"{name}={value}" for name, value in NODE.items() if f"{name}={value}" not in text] == []


def test_a_batch_can_fill():
    assert MAX_ONGOING_REQUESTS >= LARGEST_BATCH
