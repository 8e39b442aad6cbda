"""A predictor of a small real bundle, made once for the tests of this folder."""

import pytest

from rhoray.inference.predictor import Predictor
from rhoray.registry.bundle import publish
from tests.unit.registry.small_run import OWN, write_encoder, write_small_run


@pytest.fixture(scope="session")
def predictor(tmp_path_factory) -> Predictor:
    root = tmp_path_factory.mktemp("predictor")
    digest = write_encoder(str(root / "encoder"))
    write_small_run(str(root / "elastic"), ["bulk_modulus", "shear_modulus"])
    write_small_run(str(root / "latent"), [OWN], ("latent",), encoder=digest)
    publish(str(root / "encoder"), [str(root / "elastic"), str(root / "latent")], str(root / "small"))
    return Predictor.load(str(root / "small"))
