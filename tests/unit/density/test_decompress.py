"""gzip, bzip2 and xz, with a limit on what comes out."""

import bz2
import gzip
import lzma
import tracemalloc

import pytest

from rhoray.core.errors import TooLarge, Unreadable
from rhoray.density.decompress import compression_of, decompress

PACK = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}
TEXT = bytes(range(256)) * 40
each = pytest.mark.parametrize("kind", PACK)


@each
def test_round_trip(kind):
    packed = PACK[kind](TEXT)
    assert compression_of(packed) == kind
    assert decompress(packed) == TEXT


def test_plain_bytes_come_back():
    assert compression_of(TEXT) is None
    assert decompress(TEXT) == TEXT
    assert decompress(b"") == b""


@each
def test_several_members_follow_each_other(kind):
    assert decompress(PACK[kind](b"one ") + PACK[kind](b"two")) == b"one two"


@each
def test_the_limit_is_exact(kind):
    packed = PACK[kind](b"x" * 1000)
    assert len(decompress(packed, limit=1000)) == 1000
    with pytest.raises(TooLarge, match="more than 999 bytes"):
        decompress(packed, limit=999)


def test_the_limit_holds_for_plain_bytes_too():
    with pytest.raises(TooLarge):
        decompress(b"x" * 11, limit=10)


@each
def test_a_bomb_takes_no_memory(kind):
    bomb = PACK[kind](bytes(2**26))
    tracemalloc.start()
    with pytest.raises(TooLarge):
        decompress(bomb, limit=2**16)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 2**24


@each
@pytest.mark.parametrize("keep", [0.1, 0.5, 0.99])
def test_truncated(kind, keep):
    packed = PACK[kind](TEXT)
    with pytest.raises(Unreadable, match=f"damaged or truncated {kind}"):
        decompress(packed[: max(7, int(keep * len(packed)))])


@each
def test_damaged(kind):
    packed = bytearray(PACK[kind](TEXT))
    packed[len(packed) // 2] ^= 0xFF
    with pytest.raises(Unreadable):
        decompress(bytes(packed))
