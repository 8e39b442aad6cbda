"""CHGCAR and CHG, parsed by pymatgen's readers and checked by us; POSCAR and CIF headers likewise.

A CHGCAR holds rho x V_cell, first axis fastest; the mean over grid points is the electron count. After the first
grid may follow PAW augmentation occupancies and, for spin-polarised runs, the magnetisation: both are left unread.
Source: https://www.vasp.at/wiki/index.php/CHGCAR
"""

import io
import re
import warnings

import numpy as np
from pymatgen.core import DummySpecies, Structure
from pymatgen.core.structure import StructureError
from pymatgen.io.vasp import Poscar
from pymatgen.io.vasp.inputs import BadPoscarWarning
from pymatgen.io.vasp.outputs import parse_n_doubles

from rhoray.core.errors import Impossible, Unreadable
from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.crystal import structure_of

_HEADER_END = re.compile(rb"\n[ \t\r]*\n")
_GRID_LINE = re.compile(rb"\s*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t\r]*\n")
# What may follow the grid: nothing, occupancies, or the grid line of the magnetisation.
_AFTER_GRID = re.compile(rb"augmentation|\n?[ \t]*\d+[ \t]+\d+[ \t]+\d+[ \t\r]*(?:\n|$)")

# What pymatgen raises at garbled headers, a warning included.
_NOT_A_POSCAR = (ValueError, IndexError, KeyError, AttributeError, TypeError, StructureError, BadPoscarWarning)

LARGEST_GRID = 2**29
# Python refuses to read integers of thousands of digits.
LONGEST_GRID_LINE = 1000


def read_chgcar(content: bytes) -> ChargeDensity:
    """Return the total valence density of a CHGCAR or CHG.

    Args:
        content: the plain bytes of the file.

    Raises:
        Unreadable: truncated, garbled, or without element symbols.
        Impossible: grid and header disagree, or no crystal has such a density.
    """
    end = _HEADER_END.search(content, content.find(b"\n") + 1)
    if end is None:
        raise Unreadable("truncated CHGCAR: it ends before the blank line that follows the atoms")
    structure = read_poscar(content[: end.start()].decode("latin-1"))
    values = _read_grid(content, end.end(), len(structure))
    return ChargeDensity(
        values=values / structure.volume,
        lattice=np.array(structure.lattice.matrix, dtype=float),
        species=tuple(site.specie.symbol for site in structure),
        frac_coords=np.array(structure.frac_coords, dtype=float),
    )


def read_poscar(text: str) -> Structure:
    """Return the crystal of a POSCAR or of a CHGCAR's header.

    Raises:
        Unreadable: garbled, or a VASP 4 header, which does not say which elements its atoms are.
    """
    lines = [line.partition("#")[0] for line in text.splitlines()]
    if len(lines) > 5 and all(token.isdigit() for token in lines[5].split()):
        raise Unreadable("line 6 holds counts, expected element symbols (VASP 5 or later)")
    _check_counts(lines)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            structure = Poscar.from_str(text).structure
        except _NOT_A_POSCAR as error:
            raise Unreadable(f"the crystal's header can't be read: {error}") from error
    if any(isinstance(site.specie, DummySpecies) for site in structure):
        raise Unreadable(f"unknown element in {structure.formula}")
    return structure


def _check_counts(lines: list[str]) -> None:
    """Refuse more atoms than there are lines for, before pymatgen makes a list of them."""
    counts: list[int] = []
    for line in lines[6:]:
        try:
            counts += [int(token) for token in line.split()]
        except ValueError:
            if counts:
                break
    if counts and (min(counts) < 0 or sum(counts) > len(lines)):
        raise Unreadable(f"the header announces {sum(counts)} atoms, found {len(lines)} lines (truncated?)")


def _read_grid(content: bytes, start: int, num_atoms: int) -> Grid:
    """Return rho x V as (na, nb, nc) from the grid line at `start` and the numbers that follow it."""
    line = _GRID_LINE.match(content, start)
    if line is None:
        found = content[start : start + 40].decode("latin-1").strip()
        raise Unreadable(f"expected three grid counts after the atoms, found {found!r}")
    if len(line[0]) > LONGEST_GRID_LINE:
        raise Impossible(f"grid counts of {len(line[0])} characters, expected less than {LONGEST_GRID_LINE}")
    shape = tuple(int(n) for n in line.groups())
    size = int(np.prod(shape, dtype=object))
    if not 0 < size <= LARGEST_GRID:
        raise Impossible(f"grid {_by(shape)}, expected between 1 and {LARGEST_GRID} points")
    if len(content) - line.end() < 2 * size - 1:  # a number and a space each, before any allocation
        raise Unreadable(f"truncated: {_by(shape)} values can't fit in {len(content)} bytes")
    flat = np.empty(size)
    stream = io.BytesIO(content)
    stream.seek(line.end())
    parsed = parse_n_doubles(stream, flat, size)
    if parsed != size:
        rest = content[stream.tell() : stream.tell() + 20].decode("latin-1").split()
        what = f"then {rest[0]!r}" if rest else "then the file ends (truncated?)"
        raise Unreadable(f"grid {_by(shape)} needs {size} values; found {parsed}, {what}")
    _check_what_follows(content, stream.tell(), num_atoms, shape)
    return np.ascontiguousarray(flat.reshape(shape, order="F"))


def _check_what_follows(content: bytes, position: int, num_atoms: int, shape: tuple[int, ...]) -> None:
    """Refuse a grid that goes on after its header's count; up to one number an atom (moments) may follow."""
    after = _AFTER_GRID.search(content, position)
    extra = content[position : after.start() if after else len(content)]
    # Only a glance: a grid that is too long by a gigabyte is as wrong as one that is too long by a line.
    surplus = len(extra[: 40 * (num_atoms + 1)].split())
    if surplus > num_atoms:
        raise Impossible(f"grid and header disagree: more values follow the {_by(shape)} that the header announces")


def _by(shape: tuple[int, ...]) -> str:
    return " x ".join(str(n) for n in shape)


def write_chgcar(density: ChargeDensity) -> str:
    """Return the text of a CHGCAR that holds rho x V; augmentation occupancies are not known and left out."""
    structure = structure_of(density)
    total = density.values * density.volume
    flat = total.ravel(order="F")
    full, rest = divmod(len(flat), 5)
    head = Poscar(structure).get_str(significant_figures=12)
    row = "{:18.11E} {:18.11E} {:18.11E} {:18.11E} {:18.11E}\n".format
    body = [row(*five) for five in flat[: 5 * full].reshape(-1, 5).tolist()]
    tail = " ".join(f"{x:18.11E}" for x in flat[5 * full :]) + ("\n" if rest else "")
    grid = "".join(f"{n:5d}" for n in total.shape)
    return f"{head}\n{grid}\n{''.join(body)}{tail}"
