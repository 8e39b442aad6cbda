"""What follows the first grid of a CHGCAR: left unread, but it must be whole, or the copy stopped half way.

VASP writes PAW augmentation occupancies, one block an atom; then, for spin-polarised runs, the moments and a grid of
the magnetisation, again with occupancies. Other codes write less. Text of any other kind is no business of ours.
"""

import io
import re

import numpy as np
from pymatgen.io.vasp.outputs import parse_n_doubles

from rhoray.core.errors import Impossible, Unreadable
from rhoray.density.numbers import by

_BLANK = re.compile(rb"[ \t\r\n]*")
_GRID_LINE = re.compile(rb"[ \t]*(\d{1,9})[ \t]+(\d{1,9})[ \t]+(\d{1,9})[ \t\r]*(?:\n|$)")
_BLOCK_LINE = re.compile(rb"augmentation[^\n]{0,80}?(\d{1,9})[ \t]+(\d{1,9})[ \t\r]*\n")
_FLOAT = rb"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?"
_NUMBER = re.compile(_FLOAT + rb"(?=[ \t\r\n]|$)")
_BEGINS_LIKE_OURS = re.compile(rb"[-+.\d]|a(?:u(?:g|$)|$)")
_CUT_WORD = re.compile(rb"\S{1,40}\Z")
# One moment an atom, or three where spins are non-collinear.
_MOMENTS_PER_ATOM = 3
# The magnetisation of non-collinear spins has three components.
_MOST_GRIDS = 3
# Stands for a position: here begins text that is not ours to judge.
_OTHER = -1
ADVICE = "copy it again, or cut everything after the first grid, which alone is read"


def check_rest(content: bytes, position: int, num_atoms: int, shape: tuple[int, ...]) -> int:
    """Check what follows the first grid, and count the grids in it: 1 where spins are collinear, 3 where they are not.

    Args:
        content: the plain bytes of the file.
        position: where the first grid ends.
        num_atoms: of the header.
        shape: grid of the header.

    Raises:
        Impossible: more values follow than the header announces.
        Unreadable: occupancies or a magnetisation begin and are not finished.
    """
    for grids in range(_MOST_GRIDS):
        start = _skip_blanks(content, position)
        position = _skip_occupancies(content, start, num_atoms)
        if position in (_OTHER, len(content)):
            return grids
        position = _skip_moments(content, position, num_atoms, shape, may_be_last=position > start)
        if position == _OTHER:
            return grids
        position = _skip_numbers(content, position, int(np.prod(shape)), "magnetisation")
        if position == _OTHER:
            return grids + 1
    return _MOST_GRIDS


def _skip_occupancies(content: bytes, position: int, num_atoms: int) -> int:
    """Return where the blocks of occupancies end, one an atom (two with imaginary parts)."""
    atom = 0
    for _ in range(2 * num_atoms + 1):
        position = _skip_blanks(content, position)
        block = _BLOCK_LINE.match(content, position)
        if block is None:
            break
        atom, count = int(block[1]), int(block[2])
        position = _skip_numbers(content, block.end(), count, f"augmentation occupancies of atom {atom}")
        if position == _OTHER:
            return _OTHER
    if position == len(content) and 0 < atom < num_atoms:
        raise Unreadable(f"truncated: augmentation occupancies of {atom} atoms, expected {num_atoms} blocks; {ADVICE}")
    return position


def _skip_numbers(content: bytes, start: int, count: int, name: str) -> int:
    """Return where `count` numbers end, or that something else is among them: stars, say, which harm nothing here."""
    possible = min(count, (len(content) - start + 1) // 2)  # a digit and a blank each, before any allocation
    stream = io.BytesIO(content)
    stream.seek(start)
    found = parse_n_doubles(stream, np.empty(possible), possible) if possible else 0
    position = _skip_blanks(content, stream.tell())
    if found == count:
        return position
    if position == len(content) or _CUT_WORD.match(content, position):
        raise Unreadable(f"truncated: the file ends in the {name}, {found} of {count} values; {ADVICE}")
    return _OTHER


def _skip_blanks(content: bytes, position: int) -> int:
    blanks = _BLANK.match(content, position)
    assert blanks is not None  # it matches nothing, too
    return blanks.end()


def _skip_moments(content: bytes, position: int, num_atoms: int, shape: tuple[int, ...], *, may_be_last: bool) -> int:
    """Return where the next grid's values begin, or that other text does; refuse numbers without such a grid.

    `may_be_last`: after occupancies the moments of all atoms may end a file whose magnetisation someone left out.
    """
    start, numbers = position, 0
    while (grid := _GRID_LINE.match(content, position)) is None:
        number = _NUMBER.match(content, position)
        if number is None:
            break
        numbers += 1
        if numbers > _MOMENTS_PER_ATOM * num_atoms:
            raise Impossible(_surplus(shape))
        position = _skip_blanks(content, number.end())
    if may_be_last and position == len(content) and numbers in (num_atoms, _MOMENTS_PER_ATOM * num_atoms):
        return _OTHER
    if grid is None and numbers == 0:
        _refuse_if_last_line(content, start)
        return _OTHER
    if grid is None or tuple(int(n) for n in grid.groups()) != shape:
        raise Impossible(_surplus(shape))
    return grid.end()


def _surplus(shape: tuple[int, ...]) -> str:
    return (
        f"grid and header disagree: more values follow the {by(shape)} that the header announces, or the file was cut "
        "before its next grid; mend the line of grid counts, or copy the file again"
    )


def _refuse_if_last_line(content: bytes, position: int) -> None:
    """Refuse a file whose last word is cut, such as `augmentation occ` or `0.12E`."""
    rest = content[position : position + 200]
    if len(rest) < 200 and b"\n" not in rest and _BEGINS_LIKE_OURS.match(rest):
        raise Unreadable(f"truncated: the file ends in the line {rest.decode('latin-1')!r}; {ADVICE}")
