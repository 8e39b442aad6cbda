"""The endpoint does what its OpenAPI document says, whatever is sent, and never answers 5xx.

Few cases a route here; `schemathesis run http://127.0.0.1:8000/openapi.json` sends as many as one likes.
"""

import httpx
import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    ignored_auth,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from tests.broken_inputs import broken_inputs
from tests.serving.local_model import serving

OPENS = "open-sesame"
# All but positive_data_acceptance: no schema says which bytes are a CHGCAR.
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    negative_data_rejection,
    unsupported_method,
    allow_header_conformance,
    ignored_auth,
]
GETS = ["/v1/model", "/v1/health", "/v1/health/live", "/v1/health/ready"]
FILE_ROUTES = ["/v1/predict", "/v1/encode", "/v1/reconstruct", "/v1/view"]


@pytest.fixture(scope="module")
def guarded(local_model):
    with serving(local_model, api_token=OPENS) as url:
        yield url


@pytest.fixture(scope="module")
def document(guarded):
    return schemathesis.openapi.from_url(f"{guarded}/openapi.json")


def validate(document, method: str, path: str, mode: GenerationMode) -> None:
    """Send what the document allows, or what it forbids, to one route and check every answer."""

    @given(case=document[path][method].as_strategy(generation_mode=mode))
    @settings(max_examples=8, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck), database=None)
    def check(case):
        case.call_and_validate(headers={"Authorization": f"Bearer {OPENS}"}, checks=CHECKS, timeout=30)

    check()


def test_every_route_is_looked_at(document):
    assert {f"{o.ok().method} {o.ok().path}" for o in document.get_all_operations()} == {
        *(f"get {path}" for path in GETS),
        *(f"post {path}" for path in (*FILE_ROUTES, "/v1/predict/batch")),
    }


@pytest.mark.parametrize("path", GETS)
def test_what_is_read_is_as_documented(document, path):
    validate(document, "get", path, GenerationMode.POSITIVE)


@pytest.mark.parametrize("path", [*FILE_ROUTES, "/v1/predict/batch"])
@pytest.mark.parametrize("mode", list(GenerationMode))
def test_what_is_sent_is_answered_as_documented(document, path, mode):
    validate(document, "post", path, mode)


def statuses_of(url: str, path: str) -> dict[str, int]:
    """Return the answer to every broken file by its kind; each must be a problem document."""
    found = {}
    with httpx.Client(base_url=url, timeout=60) as client:
        for kind, broken in broken_inputs().items():
            response = client.post(path, files={"file": (broken.file, broken.content)})
            found[kind] = response.status_code
            assert response.headers["content-type"] == "application/problem+json", kind
            assert response.json()["type"] == f"urn:rhoray:problem:{broken.code}", kind
    return found


@pytest.mark.parametrize("path", FILE_ROUTES)
def test_every_broken_file_is_refused_with_its_reason(url, path):
    found = statuses_of(url, path)
    assert len(found) >= 100
    assert {kind: status for kind, status in found.items() if not 400 <= status < 500} == {}
