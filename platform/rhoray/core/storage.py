"""One way to reach bytes: a URI (file:///…, a plain path, s3://bucket/key) through fsspec, with retries.

S3 endpoint, region and credentials come from the usual AWS variables (AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID, …)
or from the machine's role; public buckets are read anonymously. An object is written whole or not at all: S3 shows a
key only after the upload is complete; on a file system the bytes go to a temporary neighbour that then takes the name.
"""

import contextlib
import errno
import logging
import os
import posixpath
import re
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast
from urllib.parse import urlparse

import aiohttp
import botocore.exceptions
import fsspec
from fsspec.implementations.local import LocalFileSystem
from tenacity import RetryCallState, retry, retry_if_exception, stop_after_delay, wait_random_exponential

from rhoray.core.errors import RhoRayError

logger = logging.getLogger(__name__)

SCHEMES = ("file", "s3")
F = TypeVar("F", bound=Callable)

# What asking again may mend. s3fs lets some of botocore's and aiohttp's errors through, which are no OSErrors.
TRANSIENT = (OSError, botocore.exceptions.ConnectionError, botocore.exceptions.HTTPClientError, aiohttp.ClientError)
PERMANENT = (FileNotFoundError, PermissionError, IsADirectoryError, NotADirectoryError)
PERMANENT_CODES = {errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.ENAMETOOLONG, errno.ELOOP}
# A storage server that is being restarted, or throttles, is back by then.
PATIENCE_S = 90.0
SHORT_PATIENCE_S = 5.0  # for where somebody waits for an answer

# Read without signing, from their own region, wherever the user's own bucket lies.
PUBLIC_BUCKETS = {"materialsproject-parsed": "us-east-1"}
PUBLIC_ENDPOINT_VARIABLE = "RHORAY_MP_ENDPOINT_URL"

_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{8}\.tmp")


def is_transient(error: BaseException) -> bool:
    """Return whether an error of the storage may go away by itself."""
    if isinstance(error, PERMANENT) or getattr(error, "errno", None) in PERMANENT_CODES:
        return False
    return isinstance(error, TRANSIENT)


def _say_that_it_waits(state: RetryCallState) -> None:
    assert state.outcome is not None
    assert state.next_action is not None
    logger.warning(
        "%s: the storage does not answer (%s); trying again in %.1f s",
        state.args[0] if state.args else "", state.outcome.exception(), state.next_action.sleep,
    )  # fmt: skip


def _retry_for(seconds: float) -> Callable[[F], F]:
    decorator = retry(
        retry=retry_if_exception(is_transient),
        wait=wait_random_exponential(multiplier=0.3, max=8),
        stop=stop_after_delay(seconds),
        before_sleep=_say_that_it_waits,
        reraise=True,
    )
    return cast(Callable[[F], F], decorator)


retry_storage = _retry_for(PATIENCE_S)
retry_briefly = _retry_for(SHORT_PATIENCE_S)


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
    parts = urlparse(uri)
    if parts.scheme != "s3":
        return {}
    # Listings must show what other processes have just written.
    options: dict[str, Any] = {"use_listings_cache": False}
    region = PUBLIC_BUCKETS.get(parts.netloc)
    if region is None:
        return options
    # An explicit endpoint: the user's AWS_ENDPOINT_URL_S3 leads to a store of their own.
    endpoint = os.environ.get(PUBLIC_ENDPOINT_VARIABLE) or f"https://s3.{region}.amazonaws.com"
    return {**options, "anon": True, "endpoint_url": endpoint, "client_kwargs": {"region_name": region}}


@retry_storage
def read_bytes(uri: str) -> bytes:
    """Return the whole object, of one version: it comes with one request.

    Raises:
        FileNotFoundError: there is none.
    """
    filesystem, path = open_filesystem(uri)
    # By itself s3fs asks for the size first and fetches what is large in pieces, between which the object may change.
    options = {} if isinstance(filesystem, LocalFileSystem) else {"max_concurrency": 1}
    return filesystem.cat_file(path, **options)


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
    except FileNotFoundError as error:  # a twin of this job has tidied up; the next try writes it again
        raise InterruptedError(errno.EINTR, f"{temporary} vanished") from error
    finally:
        temporary.unlink(missing_ok=True)


@retry_storage
def stat(uri: str) -> Stat | None:
    """Return what the storage says of one object; None where there is no object (a prefix is none)."""
    filesystem, path = open_filesystem(uri)
    try:
        info = filesystem.info(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return Stat(normalise(uri), int(info["size"]), _tag(info)) if info["type"] == "file" else None


def exists(uri: str) -> bool:
    """Return whether there is an object (not merely a prefix) at `uri`."""
    return stat(uri) is not None


def scan(uri: str) -> Iterator[Stat]:
    """Yield every object at or below `uri`, in no order, as the storage lists them; hidden names are left out.

    Nothing is tried again here: whoever wants all of it has to begin anew.
    """
    filesystem, path = open_filesystem(uri)
    root = path.rstrip("/")
    scheme = urlparse(normalise(uri)).scheme
    listed = _local_objects(root) if isinstance(filesystem, LocalFileSystem) else _remote_objects(filesystem, root)
    for key, size, tag in listed:
        if not _is_hidden(key[len(root) :]):
            yield Stat(f"{scheme}://{key}", size, tag)


@retry_storage
def find(uri: str) -> list[Stat]:
    """Return every object at or below `uri`, in the order of their URIs; hidden names are left out.

    Raises:
        FileNotFoundError: nothing is there.
    """
    stats = sorted(scan(uri), key=lambda stat: stat.uri)
    if not stats:
        raise FileNotFoundError(f"no objects under {uri}")
    return stats


def _local_objects(root: str) -> Iterator[tuple[str, int, str]]:
    """Yield path, size and tag of a file, or of every file below a folder; links are not followed."""
    if not os.path.isdir(root):  # noqa: PTH112 - Path objects of a million files are what this avoids
        with contextlib.suppress(FileNotFoundError, NotADirectoryError):
            about = os.stat(root)  # noqa: PTH116
            yield root, about.st_size, str(about.st_mtime)
        return
    folders = [root]
    while folders:
        with contextlib.suppress(FileNotFoundError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                elif entry.is_file(follow_symlinks=False):
                    with contextlib.suppress(FileNotFoundError):  # a temporary neighbour that took its name
                        about = entry.stat(follow_symlinks=False)
                        yield entry.path, about.st_size, str(about.st_mtime)


def _remote_objects(filesystem: Any, root: str) -> Iterator[tuple[str, int, str]]:  # noqa: ANN401 - fsspec has no types
    """Yield key, size and tag of the object `root`, or of every object below it, page by page."""
    bucket, _, prefix = root.partition("/")
    below, more, empty = f"{prefix}/" if prefix else "", dict[str, str](), True
    while True:
        page = filesystem.call_s3("list_objects_v2", Bucket=bucket, Prefix=below, **more)
        for found in page.get("Contents", ()):
            if not found["Key"].endswith("/"):  # a folder that some tool has marked
                empty = False
                yield f"{bucket}/{found['Key']}", int(found["Size"]), _tag(found)
        if not page.get("IsTruncated"):
            break
        more = {"ContinuationToken": page["NextContinuationToken"]}
    if empty and prefix:
        info = filesystem.info(root)
        if info["type"] == "file":
            yield root, int(info["size"]), _tag(info)


def _is_hidden(relative: str) -> bool:
    return any(part.startswith((".", "_")) for part in relative.split("/") if part)


def _tag(info: dict[str, Any]) -> str:
    return str(info.get("ETag") or info.get("mtime") or "").strip('"')


def answers(uri: str) -> bool:
    """Return whether the storage of `uri` answers at all, whatever is the matter with this one object."""
    filesystem, path = open_filesystem(uri)
    try:
        filesystem.info(f"{path}.{uuid.uuid4().hex[:8]}")
    except Exception as error:  # noqa: BLE001 - any answer is one, "no such object" and "forbidden" included
        return not is_transient(error)
    return True


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


def remove_leftovers(uri: str, name: re.Pattern[str]) -> None:
    """Delete what writes that were killed half-way left directly below `uri`, for objects whose names match."""
    filesystem, path = open_filesystem(uri)
    if not isinstance(filesystem, LocalFileSystem):
        return  # an object store shows and keeps nothing of an upload that did not end
    for neighbour in Path(path).glob(".*.tmp"):
        match = _TEMPORARY.fullmatch(neighbour.name)
        if match and name.fullmatch(match["name"]):
            neighbour.unlink(missing_ok=True)
