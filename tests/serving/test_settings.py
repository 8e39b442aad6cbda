"""Settings come from RHORAY_* variables and refuse what would leave the endpoint open or dead."""

import pytest
from pydantic import ValidationError

from serve.settings import ENVELOPE_BYTES, ServeSettings


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch):
    for name in ServeSettings.model_fields:
        monkeypatch.delenv(f"RHORAY_{name.upper()}", raising=False)


def test_defaults_are_those_of_the_design():
    settings = ServeSettings()
    assert settings.bundle == "pretrained:"
    assert settings.tokens == ()
    assert settings.max_upload_bytes == 256 * 2**20
    assert settings.max_decompressed_bytes == 2**30
    assert settings.uri_prefixes == ()


def test_environment(monkeypatch):
    monkeypatch.setenv("RHORAY_BUNDLE", "s3://bucket/bundles/demo")
    monkeypatch.setenv("RHORAY_MAX_UPLOAD_BYTES", "4096")
    monkeypatch.setenv("RHORAY_URI_PREFIXES", "s3://bucket/open, file:///data/")
    settings = ServeSettings()
    assert settings.bundle == "s3://bucket/bundles/demo"
    assert settings.max_request_bytes == 4096 + ENVELOPE_BYTES
    assert settings.uri_prefixes == ("s3://bucket/open", "file:///data/")


def test_a_value_in_python_wins(monkeypatch):
    monkeypatch.setenv("RHORAY_MAX_BATCH_SIZE", "3")
    assert ServeSettings(max_batch_size=5).max_batch_size == 5


def test_serve_builder_arguments_are_validated_like_the_environment(monkeypatch):
    monkeypatch.setenv("RHORAY_MAX_BATCH_SIZE", "3")
    settings = ServeSettings.model_validate({"bundle": "s3://bucket/bundles/demo"})
    assert (settings.bundle, settings.max_batch_size) == ("s3://bucket/bundles/demo", 3)


def test_several_tokens_and_no_token_in_repr(monkeypatch):
    monkeypatch.setenv("RHORAY_API_TOKEN", "alpha, beta,")
    settings = ServeSettings()
    assert settings.tokens == ("alpha", "beta")
    assert "alpha" not in repr(settings)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("RHORAY_API_TOKEN", ""),
        ("RHORAY_API_TOKEN", " , "),
        ("RHORAY_URI_PREFIXES", "http://example.org/"),
        ("RHORAY_URI_PREFIXES", "relative/path"),
        ("RHORAY_MAX_BATCH_SIZE", "0"),
        ("RHORAY_MAX_BATCH_SIZE", "1000"),
        ("RHORAY_MAX_UPLOAD_BYTES", "-1"),
    ],
)
def test_nonsense_is_refused(monkeypatch, name, value):
    monkeypatch.setenv(name, value)
    with pytest.raises(ValidationError):
        ServeSettings()


def test_errors_do_not_tell_tokens(monkeypatch):
    monkeypatch.setenv("RHORAY_API_TOKEN", "alpha")
    monkeypatch.setenv("RHORAY_URI_PREFIXES", "http://example.org/")
    with pytest.raises(ValidationError) as caught:
        ServeSettings()
    assert "alpha" not in str(caught.value)


def test_the_most_replicas_are_no_fewer_than_the_least():
    with pytest.raises(ValidationError, match="max_replicas"):
        ServeSettings(min_replicas=3)


def test_one_request_always_fits_into_the_budget_of_all():
    settings = ServeSettings(max_upload_bytes=1024)
    assert settings.max_batch_request_bytes <= settings.max_bytes_in_flight
