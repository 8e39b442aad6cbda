"""`mp:` sources: ids to keys, and what the API is asked, against a real HTTP server with its answers."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

import pytest

from rhoray.core.errors import RhoRayError
from rhoray.sources.materials_project import density_uri, list_materials_project, static_tasks

CORE = [
    {
        "material_id": "mp-149",
        "calc_types": {
            "mp-149": "GGA Structure Optimization", "mp-1001": "GGA Static", "mp-1002": "GGA Static",
            "mp-1003": "r2SCAN Static",
        },
    },
    {"material_id": "mp-30", "calc_types": {"mp-2001": "GGA+U Static"}},
]  # fmt: skip
TASKS = {"mp-1001": "2024-05-01T00:00:00", "mp-1002": "2020-01-01T00:00:00", "mp-2001": "2021-01-01T00:00:00"}


class Api(BaseHTTPRequestHandler):
    """Answers as Materials Project's API does."""

    def do_GET(self):
        url = urlsplit(self.path)
        query = {name: values[0] for name, values in parse_qs(url.query).items()}
        if self.headers["X-API-KEY"] != "secret":
            self.answer(401, {"message": "Invalid authentication credentials"})
        elif url.path == "/materials/core/":
            ids = query["material_ids"].split(",")
            self.answer(200, {"data": [row for row in CORE if row["material_id"] in ids]})
        else:
            ids = query["task_ids"].split(",")
            self.answer(200, {"data": [{"task_id": i, "last_updated": TASKS[i]} for i in ids]})

    def answer(self, status, body):
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

    def log_message(self, *args):
        pass


@pytest.fixture
def api(monkeypatch) -> Iterator[None]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Api)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("MP_API_ENDPOINT", f"http://127.0.0.1:{server.server_port}/")
    monkeypatch.setenv("MP_API_KEY", "secret")
    yield
    server.shutdown()


@pytest.mark.parametrize(
    ("task", "key"),
    [("mp-149", "mp-149"), ("mp-3347529", "mp-3347529"), ("mp-3347530", "mp-hilze"), ("mp-9999999", "mp-vwyxj"),
     ("mvc-16", "mp-16"), ("mp-hilze", "mp-hilze")],
)  # fmt: skip
def test_keys_of_the_bucket(task, key):
    assert density_uri(task) == f"s3://materialsproject-parsed/chgcars/{key}.json.gz"


@pytest.mark.parametrize("task", ["149", "mp-14x", "mp-../x", ""])
def test_what_is_no_id(task):
    with pytest.raises(RhoRayError, match="expected one like mp-149"):
        density_uri(task)


def test_the_newest_static_calculation_comes_first(api):
    assert static_tasks(["mp-149", "mp-30"]) == {"mp-149": ["mp-1001", "mp-1002"], "mp-30": ["mp-2001"]}


def test_a_wrong_key_is_said(api, monkeypatch):
    monkeypatch.setenv("MP_API_KEY", "guess")
    with pytest.raises(RhoRayError, match=r"answered 401 .*Invalid authentication"):
        static_tasks(["mp-149"])


def test_material_ids_need_a_key(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    with pytest.raises(RhoRayError, match="MP_API_KEY"):
        list_materials_project("mp:material:mp-149")


def test_a_table_of_ids_needs_their_column(tmp_path):
    (tmp_path / "ids.csv").write_text("id\nmp-149\n")
    with pytest.raises(RhoRayError, match=r"columns \['id'\], expected 'task_id'"):
        list_materials_project(f"mp:{tmp_path}/ids.csv")
