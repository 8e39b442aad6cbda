"""One way to reach bytes: a URI (file:///…, a plain path, s3://bucket/key) through fsspec, with retries.

S3 endpoint, region and credentials come from the usual AWS variables (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, …)
or from the machine's role. An object is written whole or not at all: S3 shows a key only after the upload is
complete; on a file system the bytes go to a temporary neighbour that then takes the name.
"""

import logging
import posixpath
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import fsspec
from fsspec.implementations.local import LocalFileSystem
from tenacity import (
    before_sleep_log,
    retry,
    retry_if_exception,
    stop_after_attempt,
    wait_random_exponential,
)

from rhoray.core.errors import RhoRayError

logger = logging.getLogger(__name__)

SCHEMES = ("file", "s3")
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)


def _is_worth_retrying(error: BaseException) -> bool:
    return isinstance(error, OSError | TimeoutError) and not isinstance(error, PERMANENT)


retry_storage = retry(
    retry=retry_if_exception(_is_worth_retrying),
    wait=wait_random_exponential(multiplier=0.2, max=10),
    stop=stop_after_attempt(6),
    before_sleep=before_sleep_log(logger, logging.WARNING),
    reraise=True,
)


@dataclass(frozen=True, slots=True)
class Stat:
    """What a listing says of one object: its URI, bytes, and a tag that changes with its content."""

    uri: str
    size: int
    tag: str


def normalise(uri: str) -> str:
    """Return `uri` with a scheme and without a trailing slash; plain paths become absolute file URIs.

    Raises:
        RhoRayError: the scheme is neither file nor s3.

    Example:
        >>> normalise("s3://bucket/densities/")
        's3://bucket/densities'
    """
    scheme = urlparse(uri).scheme
    if not scheme:
        # Not Path.as_uri: fsspec takes the path of a file URI as it stands, without unquoting.
        return f"file://{Path(uri).expanduser().absolute()}"
    if scheme not in SCHEMES:
        raise RhoRayError(f"{uri}: expected a path, file:///… or s3://bucket/…, found {scheme}://")
    return uri.rstrip("/")


def join(uri: str, *parts: str) -> str:
    """Return the URI of something below `uri`."""
    return posixpath.join(normalise(uri), *parts)


def name_of(uri: str) -> str:
    """Return the last component of a URI."""
    return posixpath.basename(uri.rstrip("/"))


def open_filesystem(uri: str) -> tuple[Any, str]:
    """Return the fsspec file system of a URI and the path in it."""
    filesystem, path = fsspec.core.url_to_fs(normalise(uri), **_options(uri))
    return filesystem, path


def _options(uri: str) -> dict[str, Any]:
    # Listings must show what other processes have just written.
    return {"use_listings_cache": False} if urlparse(uri).scheme == "s3" else {}


@retry_storage
def read_bytes(uri: str) -> bytes:
    """Return the whole object.

    Raises:
        FileNotFoundError: there is none.
    """
    filesystem, path = open_filesystem(uri)
    return filesystem.cat_file(path)


@retry_storage
def write_bytes(uri: str, content: bytes) -> None:
    """Write an object whole or not at all, replacing what was there."""
    filesystem, path = open_filesystem(uri)
    if not isinstance(filesystem, LocalFileSystem):
        filesystem.pipe_file(path, content)
        return
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    # The leading dot keeps an interrupted write out of every listing.
    temporary = target.with_name(f".{target.name}.{uuid.uuid4().hex[:8]}.tmp")
    try:
        temporary.write_bytes(content)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@retry_storage
def exists(uri: str) -> bool:
    """Return whether there is an object (not merely a prefix) at `uri`."""
    filesystem, path = open_filesystem(uri)
    try:
        return filesystem.info(path)["type"] == "file"
    except (FileNotFoundError, NotADirectoryError):
        return False


@retry_storage
def find(uri: str) -> list[Stat]:
    """Return every object at or below `uri`, in the order of their URIs; hidden names are left out.

    Raises:
        FileNotFoundError: nothing is there.
    """
    filesystem, path = open_filesystem(uri)
    root = path.rstrip("/")
    scheme = urlparse(normalise(uri)).scheme
    found = filesystem.find(root, detail=True)
    stats = [
        Stat(f"{scheme}://{key}", int(info["size"]), _tag(info))
        for key, info in found.items()
        if info["type"] == "file" and not _is_hidden(key[len(root) :])
    ]
    if not stats:
        raise FileNotFoundError(f"no objects under {uri}")
    return sorted(stats, key=lambda stat: stat.uri)


def _is_hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/") if part)


def _tag(info: dict[str, Any]) -> str:
    return str(info.get("ETag") or info.get("mtime") or "").strip('"')


def is_prefix(uri: str) -> bool:
    """Return whether any object lies at or below `uri`."""
    try:
        return bool(find(uri))
    except FileNotFoundError:
        return False


@retry_storage
def remove(uri: str) -> None:
    """Delete one object; absent ones are fine."""
    filesystem, path = open_filesystem(uri)
    try:
        filesystem.rm_file(path)
    except FileNotFoundError:
        logger.debug("%s was already gone", uri)
