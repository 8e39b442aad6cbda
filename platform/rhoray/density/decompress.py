"""Undo gzip, bzip2 or xz with a limit on the bytes that come out."""

import bz2
import gzip
import io
import lzma
import zlib

from rhoray.core.errors import TooLarge, Unreadable

DEFAULT_LIMIT = 4 * 2**30
MAGIC = {b"\x1f\x8b": "gzip", b"BZh": "bzip2", b"\xfd7zXZ\x00": "xz"}

# Grids of numbers shrink to a third or a fifth, empty ones to a hundredth; only bombs grow more.
LARGEST_GROWTH = 200
ALWAYS_ALLOWED = 2**26
# `xz -9` takes 65 MiB to undo.
XZ_MEMORY = 2**28
MOST_XZ_STREAMS = 1000


def compression_of(content: bytes) -> str | None:
    """Return `gzip`, `bzip2` or `xz` by the first bytes, None for anything else."""
    return next((name for magic, name in MAGIC.items() if content.startswith(magic)), None)


def decompress(content: bytes, *, limit: int = DEFAULT_LIMIT) -> bytes:
    """Return the plain bytes; what is not compressed comes back as it is.

    Args:
        content: a whole object.
        limit: most bytes that may come out; memory stays bounded by it, and by 200 times the input, whatever the
            input claims.

    Raises:
        TooLarge: more than `limit` bytes would come out, or the input is a compression bomb.
        Unreadable: the stream is truncated or damaged.
    """
    kind = compression_of(content)
    if kind is None:
        if len(content) > limit:
            raise TooLarge(f"more than {limit} bytes; give a smaller file, or raise the limit")
        return content
    most = min(limit, max(ALWAYS_ALLOWED, LARGEST_GROWTH * len(content)))
    try:
        plain = _xz(content, most + 1) if kind == "xz" else _read(kind, content, most + 1)
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise Unreadable(f"damaged or truncated {kind} stream: {error}; copy the file again, in binary mode") from error
    if len(plain) <= most:
        return plain
    if most < limit:
        raise TooLarge(f"{len(content)} bytes of {kind} grow to more than {most}, as no density does; is it a bomb?")
    raise TooLarge(f"more than {limit} bytes after {kind} decompression; give a smaller file, or raise the limit")


def _read(kind: str, content: bytes, most: int) -> bytes:
    with gzip.open(io.BytesIO(content)) if kind == "gzip" else bz2.open(io.BytesIO(content)) as stream:
        return stream.read(most)


def _xz(content: bytes, most: int) -> bytes:
    """Like `lzma.open`, which would allocate whatever dictionary a header asks for."""
    out = bytearray()
    streams = 0
    while content and len(out) < most:
        streams += 1
        if streams > MOST_XZ_STREAMS:  # each costs a copy of the rest
            raise TooLarge(f"more than {MOST_XZ_STREAMS} xz streams in one file; compress it in one")
        stream = lzma.LZMADecompressor(lzma.FORMAT_XZ, XZ_MEMORY)
        try:
            out += stream.decompress(content, most - len(out))
        except lzma.LZMAError as error:
            if "Memory usage" not in str(error):
                raise
            mebibytes = XZ_MEMORY // 2**20
            raise TooLarge(f"this xz takes more than {mebibytes} MiB to undo; compress with `xz -9` or less") from error
        if not stream.eof and len(out) < most:
            raise EOFError("it ends before its end-of-stream marker")
        content = stream.unused_data.lstrip(b"\0")
    return bytes(out)
