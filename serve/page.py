"""The page, that of /docs, and their files, as they were built from serve/ui/src: read once, sent with a strict policy.

Nothing on them comes from another host, so that they work where there is no network but this endpoint.
"""

import gzip
import hashlib
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from serve.problems import NotThere

FOLDER = Path(__file__).parent / "ui" / "dist"
INDEX = "index.html"
DOCS = "docs.html"
MEDIA_TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".txt": "text/plain; charset=utf-8",
}
PAGE_POLICY = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "base-uri 'none'",
        "form-action 'none'",
        "frame-ancestors 'none'",
    )
)


@dataclass(frozen=True, slots=True)
class Asset:
    """One file, plain and compressed."""

    media_type: str
    plain: bytes
    packed: bytes
    tag: str

    def response(self, request: Request) -> Response:
        """Return the file, or 304 when the sender has it."""
        headers = {
            "Cache-Control": "no-cache",
            "Content-Security-Policy": PAGE_POLICY,
            "ETag": self.tag,
            "Vary": "Accept-Encoding",
        }
        if request.headers.get("if-none-match") == self.tag:
            return Response(status_code=304, headers=headers)
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self.packed, headers=headers | {"Content-Encoding": "gzip"}, media_type=self.media_type)
        return Response(self.plain, headers=headers, media_type=self.media_type)


def read_assets(folder: Path = FOLDER) -> dict[str, Asset]:
    """Return the built files by name."""
    assets = {}
    for path in sorted(folder.iterdir()):
        if path.suffix in MEDIA_TYPES:
            plain = path.read_bytes()
            tag = f'"{hashlib.sha256(plain).hexdigest()[:32]}"'
            assets[path.name] = Asset(MEDIA_TYPES[path.suffix], plain, gzip.compress(plain, 9, mtime=0), tag)
    return assets


def page_routes() -> APIRouter:
    """Return `/`, its files and `/docs`."""
    router = APIRouter(include_in_schema=False)
    assets = read_assets()

    @router.get("/")
    async def page(request: Request) -> Response:
        return assets[INDEX].response(request)

    @router.get("/page/{name}")
    async def asset(name: str, request: Request) -> Response:
        if name not in assets:
            raise NotThere(f"the page has no file of this name, only {', '.join(assets)}")
        return assets[name].response(request)

    @router.get("/docs")
    async def api_docs(request: Request) -> Response:
        return assets[DOCS].response(request)

    return router
