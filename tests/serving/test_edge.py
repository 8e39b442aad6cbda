"""What Serve's proxy says by itself asks for another try; what an application says passes unchanged."""

import asyncio

import httpx
import pytest
from starlette.responses import JSONResponse, PlainTextResponse

from serve import edge
from serve.edge import TryAgain, middlewares


def answer_of(app, path="/v1/predict", **headers):
    async def run():
        transport = httpx.ASGITransport(TryAgain(app), raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.post(path, headers=headers)

    return asyncio.run(run())


async def silent(scope, receive, send):
    """As the proxy is when the replica of a request dies."""


async def broken(scope, receive, send):
    raise RuntimeError("proxy")


def assert_try_again(answer):
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "1")
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["type"] == "urn:rhoray:problem:overloaded"


@pytest.mark.parametrize("app", [silent, broken, *(PlainTextResponse("x", status) for status in (408, 429, 500, 503))])
def test_the_proxy_has_nothing_to_say(app):
    assert_try_again(answer_of(app))


def test_the_request_keeps_its_id():
    answer = answer_of(silent, **{"x-request-id": "mine"})
    assert answer.headers["x-request-id"] == "mine"
    assert answer.json()["instance"] == "urn:rhoray:request:mine"


@pytest.mark.parametrize("status", [200, 404, 500, 503])
def test_an_applications_answer_passes(status):
    answer = answer_of(JSONResponse({"ours": True}, status))
    assert (answer.status_code, answer.json()) == (status, {"ours": True})


def test_routes_are_unknown_only_to_a_young_proxy(monkeypatch):
    assert_try_again(answer_of(PlainTextResponse("Path not found", 404)))
    monkeypatch.setattr(edge, "YOUNG_SECONDS", 0.0)
    assert answer_of(PlainTextResponse("Path not found", 404)).status_code == 404


def test_the_proxys_own_routes_pass():
    assert answer_of(PlainTextResponse("starting", 503), path="/-/healthz").text == "starting"


def test_serve_finds_it():
    assert [m.cls for m in middlewares()] == [TryAgain]
