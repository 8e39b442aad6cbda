"""Runs and a bundle of them, made once for the tests of this folder."""

import datetime
from dataclasses import dataclass

import pytest

from rhoray.registry.bundle import publish
from tests.unit.registry.small_run import OWN, write_encoder, write_small_run

DAY = datetime.datetime(2026, 11, 22, 12, tzinfo=datetime.UTC)


@dataclass(frozen=True)
class Runs:
    """Where runs lie, and the bundle of `encoder`, `elastic` and `latent`."""

    encoder: str
    digest: str
    elastic: str
    latent: str
    foreign: str
    bundle: str
    published: dict


@pytest.fixture(scope="session")
def runs(tmp_path_factory) -> Runs:
    root = tmp_path_factory.mktemp("runs")
    uris = {name: str(root / name) for name in ("encoder", "elastic", "latent", "foreign", "bundle")}
    digest = write_encoder(uris["encoder"])
    write_small_run(uris["elastic"], ["bulk_modulus", "shear_modulus"])
    write_small_run(uris["latent"], [OWN], ("latent",), encoder=digest)
    write_small_run(uris["foreign"], ["bulk_modulus", OWN], ("latent",), encoder="0" * 64, seed=1)
    published = publish(uris["encoder"], [uris["elastic"], uris["latent"]], uris["bundle"], now=DAY)
    return Runs(**uris, digest=digest, published=published)
