"""The packaged model and the HTTP app around it, without Ray."""

import asyncio
from collections.abc import Callable, Iterator

import httpx
import pytest

from rhoray.density.vasp import write_chgcar
from serve.routes import build_api
from serve.settings import ServeSettings
from tests.serving.local_model import LocalModel, serving

Post = Callable[..., httpx.Response]


@pytest.fixture(scope="session")
def local_model() -> LocalModel:
    return LocalModel()


@pytest.fixture(scope="module")
def url(local_model) -> Iterator[str]:
    """The app on a port of this machine."""
    with serving(local_model) as address:
        yield address


@pytest.fixture(scope="session")
def post(local_model) -> Post:
    """Post one file to a route of the app."""

    def send(path: str, content: bytes, name: str = "CHGCAR") -> httpx.Response:
        async def run() -> httpx.Response:
            transport = httpx.ASGITransport(build_api(ServeSettings(), local_model))
            async with httpx.AsyncClient(transport=transport, base_url="http://test", timeout=60) as client:
                return await client.post(path, files={"file": (name, content)})

        return asyncio.run(run())

    return send


@pytest.fixture(scope="session")
def files(sample_densities, tmp_path_factory):
    """Three crystals and a photo, as a person has them on disk."""
    folder = tmp_path_factory.mktemp("files")
    for material_id, density in list(sample_densities.items())[:3]:
        (folder / f"{material_id}_CHGCAR").write_text(write_chgcar(density))
    (folder / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    return sorted(folder.iterdir())
