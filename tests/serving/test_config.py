"""serve/config.yaml says what Ray understands; Ray itself ignores keys that it does not know."""

from pathlib import Path

import pytest
import yaml
from ray.serve.config import AutoscalingConfig, HTTPOptions
from ray.serve.schema import (
    DeploymentSchema,
    RayActorOptionsSchema,
    ServeApplicationSchema,
    ServeDeploySchema,
)

from serve.app import app
from serve.deployments import MAX_ONGOING_REQUESTS
from serve.settings import LARGEST_BATCH, ServeSettings

ROOT = Path(__file__).parents[2]


@pytest.fixture
def config():
    return yaml.safe_load((ROOT / "serve" / "config.yaml").read_text())


def names(model):
    return set(model.model_fields)


def test_ray_accepts_it(config):
    ServeDeploySchema.model_validate(config)


def test_no_unknown_keys(config):
    assert set(config) <= names(ServeDeploySchema)
    assert set(config["http_options"]) <= names(HTTPOptions)
    for application in config["applications"]:
        assert set(application) <= names(ServeApplicationSchema)
        for deployment in application["deployments"]:
            assert set(deployment) <= names(DeploymentSchema)
            assert set(deployment.get("autoscaling_config", {})) <= names(AutoscalingConfig)
            assert set(deployment["ray_actor_options"]) <= names(RayActorOptionsSchema)


def test_every_deployment_is_configured_once(config):
    (application,) = config["applications"]
    assert [d["name"] for d in application["deployments"]] == ["Api", "Parser", "Encoder", "Regressor"]
    assert app._bound_deployment.name == "Api"


def test_autoscaling_has_room(config):
    for deployment in config["applications"][0]["deployments"]:
        scaling = deployment.get("autoscaling_config")
        if scaling:
            assert scaling["min_replicas"] < scaling["max_replicas"]


def test_serve_waits_longer_than_we_do(config):
    assert config["http_options"]["request_timeout_s"] > 2 * ServeSettings().request_timeout_s


def test_a_batch_can_fill():
    assert MAX_ONGOING_REQUESTS >= LARGEST_BATCH
