"""Random damage to files: what copies, editors and other people's scripts do to them, in one step or in several."""

from collections.abc import Callable, Sequence

import numpy as np

TOKENS = (
    *b"nan NaN inf -Infinity *** ****************** 1,5 1.0E+999 1.0E-999 1.5D+02 1.5-100 9999999999999999999 ".split(),
    *b"2147483648 -1 0 0x10 1_000 - +. . Xx Fe_pv/0a1b2c3d # ! augmentation Cartesian Selective \xff\xfe \0".split(),
    *(b"", b"1" * 400, b"1" * 5000, b"8 9 10", b"T F T", b"augmentation occupancies 1 99999999"),
)
Mutation = Callable[[bytes, np.random.Generator], bytes]


def flip(content: bytes, rng: np.random.Generator) -> bytes:
    """Change a few bytes, most often near the start, where headers are."""
    out = bytearray(content)
    near = rng.random() < 0.7
    for _ in range(rng.integers(1, 9)):
        out[_place(content, rng, near=near)] = rng.choice(
            [rng.integers(256), rng.choice(list(b"0123456789 -+.eE\n*,"))]
        )
    return bytes(out)


def truncate(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut the end off, sometimes the start."""
    at = _place(content, rng, near=rng.random() < 0.3)
    return content[at:] if rng.random() < 0.1 else content[:at]


def remove(content: bytes, rng: np.random.Generator) -> bytes:
    """Leave out a stretch."""
    a = _place(content, rng, near=rng.random() < 0.7)
    return content[:a] + content[a + _length(rng) :]


def repeat(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert a stretch again, once or many times."""
    a = _place(content, rng, near=rng.random() < 0.7)
    times = int(rng.choice([1, 2, 50]))
    return content[:a] + content[a : a + _length(rng)] * times + content[a:]


def replace_token(content: bytes, rng: np.random.Generator) -> bytes:
    """Put something else in the place of a word."""
    lines = content.split(b"\n")
    at = int(rng.integers(min(len(lines), 30)) if rng.random() < 0.7 else rng.integers(len(lines)))
    words = lines[at].split(b" ")
    words[rng.integers(len(words))] = TOKENS[rng.integers(len(TOKENS))]
    lines[at] = b" ".join(words)
    return b"\n".join(lines)


def swap_lines(content: bytes, rng: np.random.Generator) -> bytes:
    """Exchange two lines."""
    lines = content.split(b"\n")
    a, b = rng.integers(min(len(lines), 30)), rng.integers(len(lines))
    lines[a], lines[b] = lines[b], lines[a]
    return b"\n".join(lines)


def blanks(content: bytes, rng: np.random.Generator) -> bytes:
    """Insert white space, much of it at times."""
    a = _place(content, rng, near=rng.random() < 0.7)
    blank = rng.choice(list(b" \t\r\n\x0b\x0c"))
    return content[:a] + bytes([blank]) * int(rng.choice([1, 3, 5000])) + content[a:]


def line_ends(content: bytes, rng: np.random.Generator) -> bytes:
    """Convert line ends, as a transfer in text mode does."""
    return content.replace(b"\n", [b"\r\n", b"\r", b"\n\n", b" "][rng.integers(4)])


MUTATIONS: tuple[Mutation, ...] = (
    flip, flip, truncate, remove, repeat, replace_token, replace_token, replace_token, swap_lines, blanks, line_ends,
)  # fmt: skip


def splice(first: bytes, second: bytes, rng: np.random.Generator) -> bytes:
    """Return the start of one file and the end of another."""
    return first[: _place(first, rng, near=rng.random() < 0.5)] + second[_place(second, rng, near=rng.random() < 0.5) :]


def mutated(seeds: Sequence[bytes], packers: Sequence[Mutation], rng: np.random.Generator) -> bytes:
    """Return a damaged file: a seed, damaged up to four times, packed or not, and damaged again or not."""
    content = seeds[rng.integers(len(seeds))]
    if rng.random() < 0.15:
        content = splice(content, seeds[rng.integers(len(seeds))], rng)
    for _ in range(rng.integers(1, 5)):
        content = MUTATIONS[rng.integers(len(MUTATIONS))](content, rng) if content else b"\n"
    if rng.random() < 0.2:
        content = packers[rng.integers(len(packers))](content, rng)
        if rng.random() < 0.6:
            content = [flip, truncate, remove, repeat][rng.integers(4)](content, rng)
    return content


def _place(content: bytes, rng: np.random.Generator, *, near: bool) -> int:
    end = max(1, len(content))
    return int(rng.integers(min(end, 600) if near else end))


def _length(rng: np.random.Generator) -> int:
    return int(2 ** rng.uniform(0, 13))
