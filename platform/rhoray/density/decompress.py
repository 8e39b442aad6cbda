"""Undo gzip, bzip2 or xz with a limit on the bytes that come out."""

import bz2
import gzip
import io
import lzma
import zlib

from rhoray.core.errors import TooLarge, Unreadable

DEFAULT_LIMIT = 4 * 2**30
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}


def compression_of(content: bytes) -> str | None:
    """Return `gzip`, `bzip2` or `xz` by the first bytes, None for anything else."""
    return next((name for magic, name in MAGIC.items() if content.startswith(magic)), None)


def decompress(content: bytes, *, limit: int = DEFAULT_LIMIT) -> bytes:
    """Return the plain bytes; what is not compressed comes back as it is.

    Args:
        content: a whole object.
        limit: most bytes that may come out; memory stays bounded by it whatever the input claims.

    Raises:
        TooLarge: more than `limit` bytes would come out.
        Unreadable: the stream is truncated or damaged.
    """
    kind = compression_of(content)
    if kind is None:
        plain = content
    else:
        try:
            with _open(kind, io.BytesIO(content)) as stream:
                plain = stream.read(limit + 1)
        except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
            raise Unreadable(f"damaged or truncated {kind} stream: {error}") from error
    if len(plain) > limit:
        raise TooLarge(f"more than {limit} bytes{f' after {kind} decompression' if kind else ''}")
    return plain


def _open(kind: str, raw: io.BytesIO) -> gzip.GzipFile | bz2.BZ2File | lzma.LZMAFile:
    if kind == "gzip":
        return gzip.open(raw, "rb")
    return bz2.open(raw, "rb") if kind == "bzip2" else lzma.open(raw, "rb")
