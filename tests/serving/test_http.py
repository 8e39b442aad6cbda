"""The whole application over real HTTP: good files, bad files, and both in one batch.

`served_url` is the base URL of a running app, `sample_chgcars` maps material ids to CHGCAR bytes.
"""

import bz2
import concurrent.futures
import http.client
import io
import re
from urllib.parse import urlsplit

import httpx
import numpy as np
import pytest

from rhoray.density.decompress import decompress
from serve.problems import MEDIA_TYPE

pytestmark = pytest.mark.cluster

TIMEOUT = 120.0
# Beyond the default limits of 256 MB and 1 GiB; lower ones make these tests faster.
TOO_MANY_BYTES = 300 * 2**20
TOO_MANY_UNPACKED_BYTES = 1100 * 2**20

GRID = re.compile(rb"\n[ \t\r]*\n\s*(\d+)\s+(\d+)\s+(\d+)[^\n]*\n")
JPEG = b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(1000)


@pytest.fixture(scope="module")
def client(served_url):
    with httpx.Client(base_url=served_url, timeout=TIMEOUT) as opened:
        yield opened


@pytest.fixture(scope="module")
def chgcar(sample_chgcars):
    """The smallest of the samples, unpacked."""
    return min((decompress(content) for content in sample_chgcars.values()), key=len)


def split_at_grid(chgcar: bytes) -> tuple[bytes, list[bytes]]:
    """Return everything up to the values, and the values that the header announces."""
    match = GRID.search(chgcar)
    assert match is not None
    count = int(np.prod([int(n) for n in match.groups()]))
    return chgcar[: match.end()], chgcar[match.end() :].split()[:count]


def as_chgcar(head: bytes, values: list[bytes]) -> bytes:
    lines = [b" ".join(values[i : i + 5]) for i in range(0, len(values), 5)]
    return head + b"\n".join(lines) + b"\n"


def truncated(chgcar):
    head, values = split_at_grid(chgcar)
    return as_chgcar(head, values[: len(values) // 2])


def with_nan(chgcar):
    head, values = split_at_grid(chgcar)
    return as_chgcar(head, [b"NaN", *values[1:]])


def without_charge(chgcar):
    head, values = split_at_grid(chgcar)
    return as_chgcar(head, [b"0.0"] * len(values))


def with_too_many_values(chgcar):
    head, values = split_at_grid(chgcar)
    return as_chgcar(head, values + values[:1000])


def with_flat_lattice(chgcar):
    lines = chgcar.split(b"\n")
    return b"\n".join([*lines[:4], lines[3], *lines[5:]])


BAD = {
    "empty": (lambda _: b"", 400, "unreadable"),
    "truncated": (truncated, 400, "unreadable"),
    "truncated gzip": (lambda _: b"\x1f\x8b\x08\x00\x00\x00\x00\x00", 400, "unreadable"),
    "jpeg": (lambda _: JPEG, 415, "unknown-format"),
    "prose": (lambda _: b"Dear editor,\nplease find enclosed\n" * 9, 415, "unknown-format"),
    "nan": (with_nan, 422, "impossible"),
    "no charge": (without_charge, 422, "impossible"),
    "too many values": (with_too_many_values, 422, "impossible"),
    "flat lattice": (with_flat_lattice, 422, "impossible"),
}


def post(client, path, content, name="CHGCAR"):
    return client.post(path, files={"file": (name, content)})


def assert_problem(response, status, name):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == MEDIA_TYPE
    problem = response.json()
    assert problem["type"] == f"urn:rhoray:problem:{name}"
    assert problem["status"] == status
    assert_human(problem["detail"])
    return problem


def assert_human(detail: str) -> None:
    assert len(detail.split()) >= 3
    assert "Traceback" not in detail
    assert "ray::" not in detail
    assert ".py" not in detail


def test_health(client):
    health = client.get("/v1/health").raise_for_status().json()
    assert (health["live"], health["ready"]) == (True, True)
    assert set(health["model"]) == {"name", "version"}
    assert client.get("/v1/health/ready").json() == health
    assert client.get("/v1/health/live").json() == {"live": True}


def test_model_card_and_health_agree(client):
    card = client.get("/v1/model").raise_for_status().json()
    model = client.get("/v1/health").json()["model"]
    assert {"name": card["name"], "version": card["version"]} == model
    assert card["targets"]


def test_docs(client):
    assert "swagger" in client.get("/docs").text
    assert "/v1/predict" in client.get("/openapi.json").json()["paths"]


def test_prediction(client, chgcar):
    answer = post(client, "/v1/predict", chgcar).raise_for_status().json()
    assert set(answer) == {
        "material", "predictions", "in_domain", "reasons", "model", "seconds",
    }  # fmt: skip
    material = answer["material"]
    assert set(material) == {"formula", "n_atoms", "volume", "n_electrons", "density_kind"}
    assert material["density_kind"] == "dft"
    _, values = split_at_grid(chgcar)
    mean = np.array(values, float).mean()  # rho x V: the mean is the electron count
    assert material["n_electrons"] == pytest.approx(mean, rel=1e-6)
    assert set(answer["seconds"]) == {"upload", "parse", "encode", "predict", "total"}
    assert answer["in_domain"] == (not answer["reasons"])


def test_every_target_of_the_card_is_predicted_with_an_interval(client, chgcar):
    card = client.get("/v1/model").json()
    predictions = post(client, "/v1/predict", chgcar).json()["predictions"]
    units = {p["target"]: p["unit"] for p in predictions}
    assert units == {t["target"]: t["unit"] for t in card["targets"]}
    for p in predictions:
        assert set(p) == {"target", "value", "lower", "upper", "unit"}
        assert p["lower"] <= p["value"] <= p["upper"]


def test_same_file_same_numbers(client, chgcar):
    first, second = (post(client, "/v1/predict", chgcar).json() for _ in range(2))
    assert first["predictions"] == second["predictions"]
    assert first["material"] == second["material"]


def test_compressed_file_same_numbers(client, chgcar):
    plain = post(client, "/v1/predict", chgcar).json()
    packed = post(client, "/v1/predict", bz2.compress(chgcar), "CHGCAR.bz2").json()
    assert packed["predictions"] == plain["predictions"]


def test_latent(client, chgcar):
    response = post(client, "/v1/encode", chgcar).raise_for_status()
    assert response.headers["content-type"] == "application/x-npy"
    latent = np.load(io.BytesIO(response.content), allow_pickle=False)
    assert (latent.shape, latent.dtype) == ((16, 16, 16, 16), np.dtype("float32"))
    assert np.isfinite(latent).all()
    assert response.content == post(client, "/v1/encode", chgcar).content


def test_reconstruction_through_the_deployments(client, chgcar):
    response = post(client, "/v1/reconstruct", chgcar).raise_for_status()
    head, values = split_at_grid(chgcar)
    made_head, made = split_at_grid(response.content)
    assert GRID.search(made_head)[0].split() == GRID.search(head)[0].split()
    original, made = np.array(values, float), np.array(made, float)
    error = np.abs(made - original).sum() / original.sum()
    assert float(response.headers["x-density-error"]) == pytest.approx(error, rel=1e-3)
    assert error < 0.05


def test_view_through_the_deployments(client, chgcar):
    view = post(client, "/v1/view", chgcar).raise_for_status().json()
    assert view["predictions"] == post(client, "/v1/predict", chgcar).json()["predictions"]
    assert view["reconstruction"]["shape"] == view["density"]["shape"]
    assert 0 < view["density_error"] < 0.05
    assert len(view["nearest"]) == 6


def test_page(client):
    page = client.get("/").raise_for_status()
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert client.get("/page/app.js").raise_for_status().headers["content-encoding"] == "gzip"


@pytest.mark.parametrize("case", BAD)
@pytest.mark.parametrize("path", ["/v1/predict", "/v1/encode"])
def test_bad_file(client, chgcar, case, path):
    spoil, status, name = BAD[case]
    assert_problem(post(client, path, spoil(chgcar)), status, name)


def test_batch_with_bad_files_among_good_ones(client, sample_chgcars, chgcar):
    good = list(sample_chgcars.items())[:2]
    parts = [
        ("file", good[0]),
        ("file", ("photo.jpg", JPEG)),
        ("file", ("broken", truncated(chgcar))),
        ("file", good[1]),
    ]
    response = client.post("/v1/predict/batch", files=parts).raise_for_status()
    entries = response.json()
    assert [e["file"] for e in entries] == [good[0][0], "photo.jpg", "broken", good[1][0]]
    assert [e.get("status", 200) for e in entries] == [200, 415, 400, 200]
    assert_human(entries[1]["detail"])
    for entry, (name, content) in zip((entries[0], entries[3]), good, strict=True):
        alone = post(client, "/v1/predict", content, name).json()
        assert entry["material"] == alone["material"]
        assert entry["predictions"] == alone["predictions"]


def test_concurrent_requests_get_their_own_answers(client, sample_chgcars):
    items = list(sample_chgcars.items())[:4]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(lambda i: post(client, "/v1/predict", i[1], i[0]), items * 2))
    formulas = [a.raise_for_status().json()["material"] for a in answers]
    assert formulas[:4] == formulas[4:]
    assert [m["formula"] for m in formulas[:4]] == [
        post(client, "/v1/predict", content).json()["material"]["formula"] for _, content in items
    ]


def test_declared_size_is_refused_without_the_body(served_url):
    """The client sends headers only: an answer at all proves that nobody waited for the bytes."""
    connection = http.client.HTTPConnection(urlsplit(served_url).netloc, timeout=TIMEOUT)
    try:
        connection.putrequest("POST", "/v1/predict")
        connection.putheader("Content-Type", "multipart/form-data; boundary=b")
        connection.putheader("Content-Length", str(10**12))
        connection.endheaders()
        response = connection.getresponse()
        assert response.status == 413
        assert response.headers["Content-Type"] == MEDIA_TYPE
        assert b"urn:rhoray:problem:too-large" in response.read()
    finally:
        connection.close()


def test_undeclared_size_is_refused_while_streaming(client):
    def body():
        yield b'--b\r\nContent-Disposition: form-data; name="file"; filename="big"\r\n\r\n'
        for _ in range(TOO_MANY_BYTES // 2**20):
            yield bytes(2**20)
        yield b"\r\n--b--\r\n"

    headers = {"content-type": "multipart/form-data; boundary=b"}
    response = client.post("/v1/predict", content=body(), headers=headers)
    assert_problem(response, 413, "too-large")


def test_size_after_decompression_is_limited(client):
    """Compressed streams may be joined: a few kilobytes unpack to more than a gigabyte."""
    bomb = bz2.compress(bytes(50 * 2**20)) * (TOO_MANY_UNPACKED_BYTES // (50 * 2**20))
    assert len(bomb) < 10_000
    assert_problem(post(client, "/v1/predict", bomb, "CHGCAR.bz2"), 413, "too-large")


@pytest.mark.parametrize(
    ("method", "path", "status", "name"),
    [
        ("GET", "/v1/nothing", 404, "not-found"),
        ("GET", "/v1/predict", 405, "method-not-allowed"),
        ("POST", "/v1/predict", 415, "unknown-format"),
    ],
)
def test_requests_that_are_none(client, method, path, status, name):
    assert_problem(client.request(method, path), status, name)


def test_request_id_is_in_header_and_document(client):
    response = client.get("/v1/nothing", headers={"x-request-id": "test-1"})
    assert response.headers.get_list("x-request-id") == ["test-1"]
    assert response.json()["instance"] == "urn:rhoray:request:test-1"
