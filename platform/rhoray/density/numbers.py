"""The numbers of a grid as Fortran codes print them: counted, parsed in C, and checked for a cut at the end."""

import io
import re

import numpy as np
from jaxtyping import Float
from pymatgen.io.vasp.outputs import parse_n_doubles

from rhoray.core.errors import Impossible, Unreadable

LARGEST_GRID = 2**29
MOST_ATOMS = 10_000
COPY_AGAIN = "copy the file again, or rerun what wrote it"

# Fortran may print 1.5E+02 as 1.5D+02, and leaves out the letter before three digits: 1.5-100.
_D_EXPONENT = re.compile(rb"(?<=[\d.])[dD](?=[-+]?\d)")
_NO_LETTER = re.compile(rb"(?<=[\d.])(?=[-+]\d{3}(?![\d.eEdD]))")
_NUMBER = re.compile(rb"[-+]?(\d*)(?:\.(\d*))?(?:[eE][-+]?(\d+))?$")
# What is left of a number that was cut in its exponent.
_CUT_NUMBER = re.compile(rb"\s*[-+.eE]{1,2}")
_BLANKS = b" \t\r\n"
_CHUNK = 2**24
# A cut shows only against neighbours that are all alike; so many decide, so many are looked at.
_FEWEST_NEIGHBOURS = 7
_TAIL = 2048


def check_grid(shape: tuple[int, ...]) -> int:
    """Return the number of points of a grid.

    Raises:
        Impossible: none, or more than a machine can hold.
    """
    size = int(np.prod(shape, dtype=object))
    if min(shape) < 0 or not 0 < size <= LARGEST_GRID:
        raise Impossible(
            f"grid {by(shape)}, expected between 1 and {LARGEST_GRID} points; mend the line of the three grid counts"
        )
    return size


def by(shape: tuple[int, ...]) -> str:
    """Return `8 x 9 x 10`."""
    digits = [str(n) for n in shape]
    return " x ".join(d if len(d) <= 12 else f"{d[:3]}... of {len(d)} digits" for d in digits)


def with_plain_exponents(content: bytes, start: int) -> bytes:
    """Return content whose numbers from `start` on all have an E before their exponent.

    The parser would take 1.5D+02 for 1.5, and 1.5-100 for the two numbers 1.5 and -100.
    """
    has_d = _D_EXPONENT.search(content, start, start + _TAIL)  # every number has it, or none
    if has_d is None and not _has_glued_sign(content, start):
        return content
    return content[:start] + _NO_LETTER.sub(b"E", _D_EXPONENT.sub(b"E", content[start:]))


def _has_glued_sign(content: bytes, start: int) -> bool:
    """Whether a digit or point stands right before a sign anywhere; in NumPy, many times faster than a pattern."""
    for begin in range(start, len(content), _CHUNK):
        text = np.frombuffer(content, np.uint8, min(_CHUNK + 1, len(content) - begin), begin)
        before = text[:-1][(text[1:] == ord("-")) | (text[1:] == ord("+"))]
        if (((before >= ord("0")) & (before <= ord("9"))) | (before == ord("."))).any():
            return True
    return False


def read_numbers(content: bytes, start: int, shape: tuple[int, ...]) -> tuple[Float[np.ndarray, " size"], int]:
    """Return the numbers of a grid in the order of the file, and the position after the last.

    Args:
        content: the plain bytes of a file, after `with_plain_exponents`.
        start: where the numbers begin.
        shape: the grid that the header announces.

    Raises:
        Impossible: an absurd grid.
        Unreadable: fewer numbers are there, something else is among them, or the last one is cut.
    """
    size = check_grid(shape)
    left = len(content) - start
    if left < 2 * size - 1:  # a digit and a blank each, before any allocation
        raise Unreadable(f"truncated: {size} values of {by(shape)} can't fit in the last {left} bytes; {COPY_AGAIN}")
    flat = np.empty(size)
    stream = io.BytesIO(content)
    stream.seek(start)
    parsed = parse_n_doubles(stream, flat, size)
    end = stream.tell()
    if parsed == size and _ends_cleanly(content, end):
        if _last_is_cut(content, end):
            raise Unreadable(
                f"truncated: the file ends inside its last number, {content[-30:].split()[-1].decode('latin-1')}, "
                f"shorter than all before it; {COPY_AGAIN}"
            )
        return flat, end
    parsed = min(parsed, size - 1)  # the last one goes on with something that is no number
    raise Unreadable(f"grid {by(shape)} needs {size} values; found {parsed}, {_what_follows(content[end : end + 40])}")


def _what_follows(rest: bytes) -> str:
    words = rest.split()
    if not words or _CUT_NUMBER.fullmatch(rest):
        return f"then the file ends (truncated?); {COPY_AGAIN}"
    token = words[0][:20].decode("latin-1")
    if "*" in token:
        advice = "Fortran prints stars for a number that does not fit its field: rerun and check that it converged"
    elif "," in token:
        advice = "write numbers with a decimal point and blanks between them, no commas"
    else:
        advice = f"expected numbers only; {COPY_AGAIN}"
    return f"then {token!r}; {advice}"


def _ends_cleanly(content: bytes, end: int) -> bool:
    return end == len(content) or content[end] in _BLANKS or content[end - 1] in _BLANKS


def _last_is_cut(content: bytes, end: int) -> bool:
    """Whether the file ends inside the last number.

    Codes print numbers of one width. If nothing follows the last one, not even a line end, and it has fewer digits
    than every one of its neighbours, which all have the same, then digits were lost. Writers whose numbers vary in
    length (`%g`) are never suspected.
    """
    if end < len(content) or content[-1] in _BLANKS:
        return False
    *neighbours, last = (_digits(token) for token in content[-_TAIL:].split()[1:])
    mantissas = {digits for digits, _ in neighbours if digits}
    exponents = {digits for _, digits in neighbours}
    enough = len(neighbours) >= _FEWEST_NEIGHBOURS
    fewer = len(mantissas) == 1 and 0 < last[0] < min(mantissas)
    return enough and (fewer or (len(exponents) == 1 and last[1] < min(exponents)))


def _digits(token: bytes) -> tuple[int, int]:
    """Return the significant digits of a number (0 for zero) and those of its exponent."""
    match = _NUMBER.match(token)
    if match is None:
        return 0, 0
    whole, fraction, exponent = match.groups()
    return len((whole + (fraction or b"")).lstrip(b"0")), len(exponent or b"")
