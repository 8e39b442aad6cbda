"""The client and its command: same numbers as the endpoint, patient when asked, honest about what failed."""

import csv
import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import numpy as np
import pytest

from rhoray.client import Client, EndpointError, Refused
from rhoray.command.main import main
from rhoray.local.ports import free_port
from tests.serving.local_model import serving

OPENS = "open-sesame"


@contextmanager
def scripted(*answers):
    """A server that gives one (status, headers, body) after another, and the times at which it was asked."""
    rest, asked = list(answers), []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(time.monotonic())
            status, headers, body = rest.pop(0) if len(rest) > 1 else rest[0]
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        server.shutdown()


BUSY = (503, {"Retry-After": "1"}, b"{}")
CARD = (200, {"Content-Type": "application/json"}, b'{"targets": []}')


def test_same_numbers_as_the_endpoint(url, files):
    with Client(url) as client:
        found = client.predict(files[0])
    raw = httpx.post(f"{url}/v1/predict", files={"file": files[0].read_bytes()}, timeout=60).json()
    assert [(p.target, p.value, p.lower, p.upper, p.unit) for p in found.properties] == [
        (p["target"], p["value"], p["lower"], p["upper"], p["unit"]) for p in raw["predictions"]
    ]
    assert found.material.formula == raw["material"]["formula"]
    assert found.value("bulk_modulus") == raw["predictions"][0]["value"]
    with pytest.raises(KeyError):
        found.value("band_gap")


def test_a_file_that_lies_in_storage(local_model, files):
    with serving(local_model, uri_prefixes=f"file://{files[0].parent}") as url, Client(url) as client:
        assert client.predict_uri(files[0].as_uri()).properties == client.predict(files[0]).properties
        with pytest.raises(Refused):
            client.predict_uri("file:///etc/passwd")


def test_latent_and_reconstruction(url, files):
    with Client(url) as client:
        latent = client.encode(files[0].read_bytes())
        chgcar, error = client.reconstruct(files[0])
    assert (latent.shape, latent.dtype) == ((16, 16, 16, 16), np.dtype("float32"))
    assert 0 < error < 0.05
    assert len(chgcar.split()) > 1000


def test_a_refusal_has_the_endpoints_words(url, files):
    with Client(url) as client, pytest.raises(Refused, match="JPEG") as caught:
        client.predict(files[-1])
    assert (caught.value.status, caught.value.name) == (415, "unknown-format")
    assert len(caught.value.request_id) == 36


def test_many_in_the_order_given(url, files):
    with Client(url) as client:
        answers = list(client.predict_many([*files, files[0].parent / "absent"]))
    assert [path.name for path, _ in answers] == [*(f.name for f in files), "absent"]
    assert [isinstance(answer, Refused) for _, answer in answers] == [False, False, False, True, True]
    assert "No such file" in str(answers[-1][1])


@pytest.mark.parametrize("token", [None, "wrong"])
def test_a_token_that_is_needed(local_model, files, token):
    with serving(local_model, api_token=OPENS) as guarded:
        with Client(guarded, token=token, patience_s=1.0) as client, pytest.raises(EndpointError, match="token"):
            client.predict(files[0])
        with Client(guarded, token=OPENS) as client:
            assert client.predict(files[0]).properties


def test_waits_as_long_as_it_is_asked_to():
    with scripted(BUSY, BUSY, CARD) as (address, asked), Client(address) as client:
        assert client.model() == {"targets": []}
    assert len(asked) == 3
    assert min(np.diff(asked)) >= 1.0


LOST = (500, {"Content-Type": "text/plain"}, b"Internal Server Error")
FAULT = (500, {"Content-Type": "application/problem+json"}, b'{"type": "urn:rhoray:problem:internal", "detail": "x"}')


def test_a_proxy_whose_server_died_is_asked_again():
    with scripted(LOST, CARD) as (address, asked), Client(address) as client:
        assert client.model() == {"targets": []}
    assert len(asked) == 2


def test_a_fault_in_the_server_is_told_at_once():
    with scripted(FAULT, CARD) as (address, asked), Client(address) as client, pytest.raises(Refused) as caught:
        client.model()
    assert (caught.value.status, len(asked)) == (500, 1)


def test_an_answer_that_breaks_off_is_asked_for_again():
    cut = (200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"}, b"5\r\nab")
    with scripted(cut, CARD) as (address, asked), Client(address) as client:
        assert client.model() == {"targets": []}
    assert len(asked) == 2


def test_a_date_is_understood_too():
    later = (429, {"Retry-After": formatdate(time.time() + 2, usegmt=True)}, b"")
    with scripted(later, CARD) as (address, asked), Client(address) as client:
        client.model()
    assert asked[1] - asked[0] >= 0.9  # a date has no fractions of a second


def test_gives_up_when_patience_ends():
    given_up = pytest.raises(EndpointError, match=r"503.*given up")
    with scripted(BUSY) as (address, asked), Client(address, patience_s=2.5) as client, given_up:
        client.model()
    assert 2 <= len(asked) <= 3


def test_an_endpoint_that_comes_back(local_model, files):
    """It answers nothing at first: the connection is refused."""
    port = free_port()
    with Client(f"http://127.0.0.1:{port}", patience_s=30.0) as client:
        found = []
        asking = threading.Thread(target=lambda: found.append(client.model()))
        asking.start()
        time.sleep(0.7)
        with serving(local_model, port=port):
            asking.join(timeout=30)
    assert found[0]["targets"]


@pytest.mark.parametrize("answer", [(200, {}, b"<html>"), (500, {}, b"oops"), (404, {}, b'{"detail": "no"}')])
def test_something_else_that_answers(answer):
    with scripted(answer) as (address, asked), Client(address) as client, pytest.raises(EndpointError):
        client.model()
    assert len(asked) == 1


def test_table(url, files, tmp_path, capsys):
    out = tmp_path / "out.csv"
    main(["predict", *map(str, files), "--url", url, "--out", str(out)])
    summary = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (summary["rows"], summary["failed"]) == (4, 1)
    rows = list(csv.DictReader(out.open()))
    assert [row["material_id"] for row in rows] == [f.name.split("_")[0].split(".")[0] for f in files]
    with Client(url) as client:
        assert float(rows[0]["bulk_modulus"]) == client.predict(files[0]).value("bulk_modulus")
    assert "JPEG" in rows[-1]["reason"]
    assert (rows[-1]["in_domain"], rows[-1]["bulk_modulus"]) == ("False", "")


def test_for_reading(url, files, capsys):
    main(["predict", str(files[0]), str(files[-1]), "--url", url])
    text = capsys.readouterr().out
    assert "bulk modulus" in text
    assert "JPEG" in text


def test_as_a_command_exit_codes(files, root):
    def run(*arguments):
        command = [sys.executable, "-m", "rhoray.command", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=root / "platform", check=False)

    bad = run("predict", "absent")
    assert (bad.returncode, "no such file" in bad.stderr) == (2, True)
    away = run("predict", str(files[0]), "--url", f"http://127.0.0.1:{free_port()}", "--patience", "0.5")
    assert away.returncode == 1
    assert len(away.stderr.strip().splitlines()) == 1
    assert "given up" in away.stderr
