"""Over a real socket: slow, endless and lying senders are refused, and others are answered meanwhile."""

import bz2
import gzip
import json
import lzma
import socket
import time
from urllib.parse import urlsplit

import httpx
import psutil
import pytest

from tests.serving.local_model import serving

LIMIT = 2**20
PATIENCE = 1.0
HEAD = b'--b\r\nContent-Disposition: form-data; name="file"; filename="CHGCAR"\r\n\r\n'
BOMB_BYTES = 100 * 2**20


@pytest.fixture(scope="module")
def strict(local_model):
    """An endpoint with low limits."""
    with serving(
        local_model, max_upload_bytes=LIMIT, max_decompressed_bytes=2**24, request_timeout_s=PATIENCE
    ) as address:
        yield address


def connect(url: str, framing: bytes) -> socket.socket:
    """Open a request whose body is still to come."""
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=20)
    connection.sendall(
        b"POST /v1/predict HTTP/1.1\r\nHost: test\r\nContent-Type: multipart/form-data; boundary=b\r\n"
        + framing
        + b"\r\n\r\n"
    )
    return connection


def answer(connection: socket.socket) -> bytes:
    """Return what comes back until the other side closes or is silent."""
    content = b""
    try:
        while chunk := connection.recv(2**16):
            content += chunk
            if b"}" in content:
                break
    except OSError:
        pass  # closed while we sent, which is an answer too
    return content


def test_slow_senders_are_sent_away_and_others_answered_meanwhile(strict):
    slow = [connect(strict, b"Content-Length: 5000") for _ in range(20)]
    start = time.perf_counter()
    for connection in slow:
        connection.sendall(HEAD)
    assert httpx.get(f"{strict}/v1/health", timeout=5).status_code == 200
    assert httpx.post(f"{strict}/v1/predict", files={"file": b"\xff\xd8\xff\xe0"}, timeout=5).status_code == 415
    while time.perf_counter() - start < 0.8 * PATIENCE:
        for connection in slow:
            connection.sendall(b"x")  # a byte now and then does not buy more time
        time.sleep(0.2)
    answers = [answer(connection) for connection in slow]
    assert time.perf_counter() - start < PATIENCE + 10
    assert {text.split(b"\r\n")[0] for text in answers} == {b"HTTP/1.1 408 Request Timeout"}
    assert all(b"urn:rhoray:problem:timeout" in text for text in answers)
    for connection in slow:
        connection.close()


@pytest.mark.parametrize("framing", [b"Transfer-Encoding: chunked", b"Content-Length: 10000000000"])
def test_endless_bodies(strict, framing):
    before = psutil.Process().memory_info().rss
    connection = connect(strict, framing)
    chunk = bytes(2**16)
    sent = 0
    try:
        if b"chunked" in framing:
            connection.sendall(b"%x\r\n%s\r\n" % (len(HEAD), HEAD))
            for _ in range(20 * LIMIT // len(chunk)):
                connection.sendall(b"%x\r\n%s\r\n" % (len(chunk), chunk))
                sent += len(chunk)
    except OSError:
        pass
    text = answer(connection)
    connection.close()
    assert text == b"" or text.startswith(b"HTTP/1.1 413")
    if b"chunked" not in framing:
        assert b"urn:rhoray:problem:too-large" in text
    assert psutil.Process().memory_info().rss - before < 64 * 2**20
    assert httpx.get(f"{strict}/v1/health/live", timeout=5).status_code == 200


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress])
def test_bombs(strict, pack):
    bomb = pack(bytes(BOMB_BYTES))
    assert len(bomb) < LIMIT
    response = httpx.post(f"{strict}/v1/predict", files={"file": ("CHGCAR", bomb)}, timeout=60)
    assert response.status_code == 413
    assert response.json()["type"] == "urn:rhoray:problem:too-large"


def test_a_body_longer_than_it_says_is_not_read_on(strict):
    connection = connect(strict, b"Content-Length: 10")
    connection.sendall(HEAD + bytes(1000))
    assert b"HTTP/1.1 400" in answer(connection)
    connection.close()


def test_deep_json_is_refused(strict):
    body = json.dumps({"uri": "s3://b/k"})[:-1] + ', "x": ' + "[" * 30_000 + "]" * 30_000 + "}"
    response = httpx.post(
        f"{strict}/v1/predict", content=body, headers={"content-type": "application/json"}, timeout=10
    )
    assert response.status_code == 400
