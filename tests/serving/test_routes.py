"""The HTTP app without Ray: everything that is decided before a model is asked."""

import asyncio
import logging

import httpx
import pytest

from serve.parsing import parse
from serve.problems import MEDIA_TYPE
from serve.routes import build_api
from serve.settings import ServeSettings

JPEG = b"\xff\xd8\xff\xe0" + bytes(100)


class BrokenModel:
    """It reads files; a model that must not be asked, or fails as no model should."""

    async def parse(self, content, *, keep_given=False):
        return parse(content, limit=2**20, keep_given=keep_given)

    def __getattr__(self, name):
        raise RuntimeError(f"/srv/secret: {name} is broken")


def send(method, path, *, settings=None, **options) -> httpx.Response:
    async def run():
        api = build_api(settings or ServeSettings(max_upload_bytes=2048), BrokenModel())
        transport = httpx.ASGITransport(api)
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.request(method, path, **options)

    return asyncio.run(run())


def assert_problem(response, status, name):
    assert response.status_code == status
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = response.json()
    assert set(problem) == {"type", "title", "status", "detail", "instance"}
    assert problem["status"] == status
    assert problem["type"] == f"urn:rhoray:problem:{name}"
    assert len(problem["detail"]) > 10
    assert "Traceback" not in response.text
    return problem


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/predict/", 404, "not-found"),
        ("GET", "/v1/predict", 405, "method-not-allowed"),
        ("DELETE", "/v1/model", 405, "method-not-allowed"),
    ],
)
def test_routes_that_are_none(method, path, status, name):
    problem = assert_problem(send(method, path), status, name)
    assert path in problem["detail"]


def test_405_names_the_methods():
    assert send("GET", "/v1/predict").headers["allow"] == "POST"


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/encode", "/v1/view", "/v1/reconstruct", "/v1/predict/batch"])
def test_body_of_another_type(path):
    response = send("POST", path, content=b"x", headers={"content-type": "text/plain"})
    problem = assert_problem(response, 415, "unknown-format")
    assert "text/plain" in problem["detail"]
    assert_problem(send("POST", path), 415, "unknown-format")


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/encode", "/v1/view", "/v1/reconstruct"])
def test_refused_before_the_model_is_asked(path):
    assert_problem(send("POST", path, files={"file": JPEG}), 415, "unknown-format")
    assert_problem(send("POST", path, files={"file": b""}), 400, "unreadable")
    assert_problem(send("POST", path, files={"other": b"x"}), 400, "invalid-request")
    assert_problem(send("POST", path, files={"file": bytes(2049)}), 413, "too-large")
    two = [("file", b"x"), ("file", b"y")]
    assert send("POST", path, files=two).status_code in {400, 413}


def test_uri_routes():
    assert_problem(send("POST", "/v1/predict", json={"uri": "s3://b/k"}), 403, "forbidden")
    assert_problem(send("POST", "/v1/predict", json={"url": "s3://b/k"}), 400, "invalid-request")


def test_uri_that_is_not_there(tmp_path):
    settings = ServeSettings(uri_prefixes=f"file://{tmp_path}")
    sent = {"uri": f"file://{tmp_path}/absent"}
    assert_problem(send("POST", "/v1/predict", json=sent, settings=settings), 404, "not-found")
    outside = {"uri": f"file://{tmp_path}/../absent"}
    assert_problem(send("POST", "/v1/predict", json=outside, settings=settings), 403, "forbidden")


def test_uri_is_read(tmp_path):
    (tmp_path / "photo").write_bytes(JPEG)
    settings = ServeSettings(uri_prefixes=f"file://{tmp_path}")
    sent = {"uri": f"file://{tmp_path}/photo"}
    assert_problem(send("POST", "/v1/encode", json=sent, settings=settings), 415, "unknown-format")


def test_batch_answers_each_file_under_its_name():
    files = [("file", ("a.jpg", JPEG)), ("file", ("b", b"")), ("file", ("c", bytes(2049)))]
    response = send("POST", "/v1/predict/batch", files=files)
    assert response.status_code == 200
    found = [(entry["file"], entry["status"]) for entry in response.json()]
    assert found == [("a.jpg", 415), ("b", 400), ("c", 413)]
    assert len({entry["instance"] for entry in response.json()}) == 3


def test_batch_over_its_limits():
    settings = ServeSettings(max_upload_bytes=2048, max_batch_files=2)
    files = [("file", ("a", JPEG))] * 3
    response = send("POST", "/v1/predict/batch", files=files, settings=settings)
    assert_problem(response, 413, "too-large")


def test_our_own_fault_is_500_and_tells_nothing(caplog):
    with caplog.at_level(logging.ERROR):
        response = send("GET", "/v1/model", headers={"x-request-id": "abc"})
    problem = assert_problem(response, 500, "internal")
    assert "secret" not in response.text
    assert problem["instance"] == "urn:rhoray:request:abc"
    assert "/srv/secret" in caplog.text


TOKENS = "alpha,beta"
GUARDED = [
    ("GET", "/v1/model"),
    ("POST", "/v1/predict"),
    ("POST", "/v1/predict/batch"),
    ("POST", "/v1/encode"),
    ("POST", "/v1/view"),
    ("POST", "/v1/reconstruct"),
]


@pytest.mark.parametrize(("method", "path"), GUARDED)
@pytest.mark.parametrize("headers", [{}, {"authorization": "Bearer wrong"}, {"authorization": "Basic YWxwaGE="}])
def test_token_is_needed(method, path, headers):
    settings = ServeSettings(api_token=TOKENS)
    response = send(method, path, headers=headers, settings=settings)
    assert_problem(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("token", ["alpha", "beta"])
def test_either_token_opens(token):
    settings = ServeSettings(api_token=TOKENS)
    headers = {"authorization": f"Bearer {token}"}
    response = send("POST", "/v1/predict", files={"file": JPEG}, headers=headers, settings=settings)
    assert_problem(response, 415, "unknown-format")


@pytest.mark.parametrize("path", ["/", "/v1/health", "/v1/health/live", "/openapi.json", "/docs"])
def test_no_token_for_health_and_docs(path):
    assert send("GET", path, settings=ServeSettings(api_token=TOKENS)).status_code != 401


def test_openapi_describes_bodies_and_problems():
    paths = send("GET", "/openapi.json").json()["paths"]
    predict = paths["/v1/predict"]["post"]
    assert set(predict["requestBody"]["content"]) == {"multipart/form-data", "application/json"}
    assert MEDIA_TYPE in predict["responses"]["422"]["content"]
    assert "application/x-npy" in paths["/v1/encode"]["post"]["responses"]["200"]["content"]


def test_openapi_has_examples():
    document = send("GET", "/openapi.json").json()
    paths, schemas = document["paths"], document["components"]["schemas"]
    assert paths["/v1/predict"]["post"]["requestBody"]["content"]["application/json"]["example"]["uri"]
    assert paths["/v1/reconstruct"]["post"]["responses"]["200"]["headers"]["X-Density-Error"]["example"]
    for name in ("PropertyValue", "Material", "Model"):
        assert [f for f, facts in schemas[name]["properties"].items() if not {"examples", "enum"} & set(facts)] == []


def test_every_field_of_an_answer_has_an_example():
    """A field whose type is another model shows that model's examples."""
    for name, schema in send("GET", "/openapi.json").json()["components"]["schemas"].items():
        for field, facts in schema["properties"].items():
            nested = {"$ref", "anyOf", "items"} & set(facts)
            assert nested or {"examples", "enum"} & set(facts), f"{name}.{field}"


def test_every_problem_has_an_example_of_its_status():
    for operations in send("GET", "/openapi.json").json()["paths"].values():
        for operation in operations.values():
            for status, response in operation["responses"].items():
                for media_type, content in response.get("content", {}).items():
                    if media_type == MEDIA_TYPE:
                        assert content["example"]["status"] == int(status)


def test_alive_though_the_model_is_broken():
    assert send("GET", "/v1/health/live").json() == {"live": True}
    assert send("GET", "/v1/health/ready").status_code == 500


ANSWERS = [("GET", "/"), ("GET", "/docs"), ("GET", "/v1/model"), ("GET", "/v1/nothing"), ("POST", "/v1/predict")]


@pytest.mark.parametrize(("method", "path"), ANSWERS)
def test_every_answer_has_safe_headers_and_an_id(method, path):
    headers = send(method, path).headers
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert len(headers["x-request-id"]) == 36


@pytest.mark.parametrize(("given", "is_kept"), [("lab-7.a_1", True), ("a b", False), ("x" * 65, False), ("<b>", False)])
def test_a_sane_id_is_taken_over(given, is_kept):
    response = send("GET", "/v1/nothing", headers={"x-request-id": given})
    identity = response.headers["x-request-id"]
    assert (identity == given) is is_kept
    assert response.json()["instance"] == f"urn:rhoray:request:{identity}"


def test_one_log_line_a_request_with_its_id_and_no_token(caplog):
    headers = {"x-request-id": "abc", "authorization": "Bearer wrong-secret"}
    with caplog.at_level(logging.INFO):
        send("POST", "/v1/predict", headers=headers, settings=ServeSettings(api_token=TOKENS))
    (line,) = [record for record in caplog.records if record.name == "serve.middleware"]
    assert (line.http_status, line.problem, line.rhoray_request) == (401, "unauthorized", "abc")
    assert line.http_route == "/v1/predict"
    assert "wrong-secret" not in caplog.text
    assert "alpha" not in caplog.text


def test_a_path_of_a_stranger_is_no_label(caplog):
    with caplog.at_level(logging.INFO):
        send("GET", "/v1/" + "x" * 500)
    (line,) = [record for record in caplog.records if record.name == "serve.middleware"]
    assert line.http_route == "unknown"
