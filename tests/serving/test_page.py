"""The page's files: served safely, complete, asking no other host, built from these sources."""

import asyncio
import gzip
import re
import shutil
import subprocess
from pathlib import Path

import httpx
import pytest

from serve.page import PAGE_POLICY, read_assets
from serve.routes import build_api
from serve.settings import ServeSettings

UI = Path(__file__).parents[2] / "serve" / "ui"
MOST_BYTES = {"app": 1_000_000, "docs": 2_000_000}
REFERENCE = re.compile(r'(?:src|href)="(page/[^"]+)"')


class NoModel:
    """Nothing of the page needs a model."""


@pytest.fixture(scope="module")
def get():
    async def run(path, headers):
        transport = httpx.ASGITransport(build_api(ServeSettings(api_token="secret"), NoModel()))
        async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            return await client.get(path, headers=headers)

    return lambda path, **headers: asyncio.run(run(path, headers))


def test_page_needs_no_token_and_says_what_it_may_load(get):
    page = get("/")
    assert page.status_code == 200
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["content-security-policy"] == PAGE_POLICY
    assert "unsafe" not in PAGE_POLICY
    assert "default-src 'none'" in PAGE_POLICY
    assert page.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize("name", ["index", "docs"])
def test_nothing_is_asked_of_another_host(name):
    html = (UI / "dist" / f"{name}.html").read_text()
    css = (UI / "dist" / f"{name.replace('index', 'app')}.css").read_text()
    assert "//" not in html
    assert not re.search(r"url\((?!['\"]?data:)", css)
    assert "@import" not in css


def test_no_markup_is_made_of_text():
    """Names of files and reasons of refusals come from strangers: they go in as text."""
    for source in (UI / "src").glob("*.ts"):
        assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", source.read_text())


@pytest.mark.parametrize("name", ["index", "docs"])
def test_no_inline_code_that_the_policy_would_stop(name):
    html = (UI / "dist" / f"{name}.html").read_text()
    assert "<style" not in html
    assert not re.search(r"<script(?![^>]*src=)", html)
    assert not re.search(r"\son\w+=|style=", html)


@pytest.mark.parametrize("name", MOST_BYTES)
def test_it_is_small(name):
    sizes = [len(asset.plain) for file, asset in read_assets().items() if file.startswith(name)]
    assert 0 < sum(sizes) < MOST_BYTES[name]


@pytest.mark.parametrize("name", ["nothing.js", "..%2fpackage.json", "%2e%2e/build.mjs", "tsconfig.json"])
def test_other_files_stay_where_they_are(get, name):
    assert get(f"/page/{name}").status_code == 404


def test_compressed_and_not_sent_twice(get):
    plain = get("/page/app.js", **{"accept-encoding": "identity"})
    packed = get("/page/app.js", **{"accept-encoding": "gzip"})
    assert "content-encoding" not in plain.headers
    assert packed.headers["content-encoding"] == "gzip"
    assert plain.content == packed.content  # httpx unpacks
    again = get("/page/app.js", **{"if-none-match": plain.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


def test_files_are_packed_the_same_every_time():
    asset = read_assets()["app.css"]
    assert gzip.decompress(asset.packed) == asset.plain
    assert read_assets()["app.css"] == asset


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_every_file_it_names_is_there(get, path):
    page = get(path)
    assert page.headers["content-security-policy"] == PAGE_POLICY
    names = REFERENCE.findall(page.text)
    assert len(names) == len(re.findall("page/", page.text))
    assert {Path(name).suffix for name in names} == {".js", ".css", ".svg"}
    for name in names:
        response = get(f"/{name}")
        assert response.status_code == 200
        assert response.headers["content-security-policy"] == PAGE_POLICY


def test_what_is_committed_is_what_the_sources_give(tmp_path):
    node = shutil.which("node")
    if node is None or not (UI / "node_modules" / "swagger-ui-dist").is_dir():
        pytest.skip("no node, or `make page` was never run: can't build the page")
    subprocess.run([node, "build.mjs", str(tmp_path)], cwd=UI, check=True, timeout=120)
    built = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    committed = {path.name: path.read_bytes() for path in (UI / "dist").iterdir()}
    assert built.keys() == committed.keys()
    assert [name for name in built if built[name] != committed[name]] == []
