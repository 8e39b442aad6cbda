"""Reading a density that a request names by URI: below configured prefixes, within the limit.

The endpoint reads with its own credentials, so a URI is refused unless it is plainly below an
allowed prefix: no dots, no escapes, no fsspec chains, no symbolic links that lead out.
"""

import logging
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import urlsplit

from botocore.exceptions import BotoCoreError

from rhoray.core.errors import TooLarge, Unavailable
from rhoray.core.storage import open_filesystem, retry_briefly
from serve.problems import Forbidden, NotThere

logger = logging.getLogger(__name__)

# Characters that no key of ours has, and that file systems or URI parsers may give a meaning to.
_SUSPECT = re.compile(r"[\x00-\x20\x7f\\?#%*\[\]@]|::")


def check_uri(uri: str, prefixes: Sequence[str]) -> str:
    """Return `uri` when it lies below one of `prefixes`.

    Args:
        uri: s3://bucket/key or file:///path.
        prefixes: allowed places; a trailing slash makes no difference.

    Raises:
        Forbidden: it lies elsewhere, or hides where it lies.

    Example:
        >>> check_uri("s3://bucket/open/a.gz", ["s3://bucket/open"])
        's3://bucket/open/a.gz'
    """
    if not prefixes:
        raise Forbidden("this endpoint reads no URIs (RHORAY_URI_PREFIXES is empty); send the file itself")
    path = urlsplit(uri).path if not _SUSPECT.search(uri) else ""
    steps = path.split("/")[1:]
    if not path or any(step in {"", ".", ".."} for step in steps):
        raise Forbidden("expected a plain s3://bucket/key or file:///path")
    if not any(_is_below(uri, prefix) for prefix in prefixes):
        raise Forbidden("the URI is not below a prefix that this endpoint may read")
    return uri


def _is_below(uri: str, prefix: str) -> bool:
    if not uri.startswith(prefix.rstrip("/") + "/"):
        return False
    if not uri.startswith("file://"):
        return True
    return _real_path(uri).is_relative_to(_real_path(prefix))


def _real_path(uri: str) -> Path:
    return Path(uri.removeprefix("file://")).resolve()


def read_uri(uri: str, *, limit: int) -> bytes:
    """Return the object, which check_uri has let pass.

    Raises:
        TooLarge: it has more than `limit` bytes.
        NotThere: there is no such object.
        Unavailable: the storage did not answer, or denied it.
    """
    try:
        content = _read_limited(uri, limit)
    except (FileNotFoundError, IsADirectoryError) as error:
        raise NotThere(f"{uri}: no such object") from error
    except (OSError, BotoCoreError) as error:  # an answer of the storage, or none
        logger.warning("%s: %s", uri, error)
        raise Unavailable(f"{uri}: the storage did not give it ({type(error).__name__})") from error
    if len(content) > limit:
        raise TooLarge(f"{uri}: more than {limit} bytes, expected at most that")
    return content


@retry_briefly
def _read_limited(uri: str, limit: int) -> bytes:
    """Return at most limit + 1 bytes, even of an object that grows meanwhile."""
    filesystem, path = open_filesystem(uri)
    info = filesystem.info(path)
    if info["type"] != "file":
        raise IsADirectoryError(uri)
    if info["size"] == 0:  # S3 has no range to give of an empty object
        return b""
    return filesystem.cat_file(path, start=0, end=limit + 1)
