"""CHGCAR and CHG, parsed by pymatgen's readers and checked by us; POSCAR and CIF headers likewise.

A CHGCAR holds rho x V_cell, first axis fastest; the mean over grid points is the electron count. After the first
grid may follow PAW augmentation occupancies and, for spin-polarised runs, the magnetisation: see `after_grid`.
Source: https://www.vasp.at/wiki/index.php/CHGCAR
"""

import itertools
import re
import warnings
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from pymatgen.core import Element, Lattice, Structure
from pymatgen.core.structure import StructureError
from pymatgen.io.vasp import Poscar
from pymatgen.io.vasp.inputs import BadPoscarWarning

from rhoray.core.errors import Impossible, TooLarge, Unreadable
from rhoray.density.after_grid import check_rest
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.numbers import COPY_AGAIN, MOST_ATOMS, check_grid, read_numbers, with_plain_exponents

_HEADER_END = re.compile(rb"\n[ \t\r]*\n")
_GRID_LINE = re.compile(rb"\s*(\d+)[ \t]+(\d+)[ \t]+(\d+)[ \t\r]*\n")

# Na, Na_pv, Na_pv/f474ac0d (VASP 6 writes the potential's name and hash), Fe3+.
_SYMBOL = re.compile(r"([A-Z][a-z]?)(?:[_/]\S*|\d?[-+])?$")

# What pymatgen raises at garbled headers, a warning included.
_NOT_A_POSCAR = (ValueError, IndexError, KeyError, AttributeError, TypeError, StructureError, BadPoscarWarning)

# Python refuses to read integers of thousands of digits.
LONGEST_GRID_LINE = 1000
LONGEST_HEADER = 2**22
MEND = "mend the header, or copy the file again"


def read_chgcar_and_spin(content: bytes) -> tuple[ChargeDensity, int]:
    """Return the total valence density of a CHGCAR or CHG, and how many grids of the magnetisation follow it.

    Args:
        content: the plain bytes of the file.

    Returns:
        The density, e/A3, and 0 (spins not told apart), 1 (collinear) or 3 (non-collinear); the magnetisation itself
        is checked to be whole, and left unread.

    Raises:
        Unreadable: truncated, garbled, or without element symbols.
        Impossible: grid and header disagree, or no crystal has such a density.
        TooLarge: more atoms than RhoRay takes.
    """
    end = _HEADER_END.search(content, content.find(b"\n") + 1)
    if end is None:
        raise Unreadable(f"truncated CHGCAR: it ends before the blank line that follows the atoms; {COPY_AGAIN}")
    if end.start() > LONGEST_HEADER:
        raise Unreadable(f"no blank line in the first {LONGEST_HEADER} bytes, expected one after the atoms; {MEND}")
    structure = read_poscar(content[: end.start()].decode("latin-1"))
    shape, start = _grid_line(content, end.end())
    content = with_plain_exponents(content, start)
    flat, position = read_numbers(content, start, shape)
    grids = check_rest(content, position, len(structure), shape)
    density = ChargeDensity(
        values=np.ascontiguousarray(flat.reshape(shape, order="F")) / structure.volume,
        lattice=np.array(structure.lattice.matrix, dtype=float),
        species=tuple(site.specie.symbol for site in structure),
        frac_coords=np.array(structure.frac_coords, dtype=float),
    )
    return density, grids


def _grid_line(content: bytes, start: int) -> tuple[tuple[int, int, int], int]:
    """Return the three counts and where the numbers begin."""
    line = _GRID_LINE.match(content, start)
    if line is None:
        found = content[start : start + 40].decode("latin-1").strip()
        raise Unreadable(f"expected three grid counts after the atoms, found {found!r}; {COPY_AGAIN}")
    if len(line[0]) > LONGEST_GRID_LINE:
        raise Impossible(f"grid counts of {len(line[0])} characters, expected less than {LONGEST_GRID_LINE}; {MEND}")
    shape = (int(line[1]), int(line[2]), int(line[3]))
    check_grid(shape)
    return shape, line.end()


def read_poscar(text: str) -> Structure:
    """Return the crystal of a POSCAR or of a CHGCAR's header.

    Raises:
        Unreadable: garbled, or a VASP 4 header, which does not say which elements its atoms are.
        Impossible: the lattice is singular or not finite.
        TooLarge: more atoms than RhoRay takes.
    """
    lines = [re.split("[#!]", line, maxsplit=1)[0] for line in text.split("\n")]
    symbols, counts, rest = _symbols_and_counts(lines)
    # Scaling moves no atom in units of the lattice: read with 1, then scale the lattice alone. pymatgen knows no
    # three factors, and multiplies Cartesian sites by a negative one, which means a volume.
    plain = ["crystal", "1.0", *lines[2:5], " ".join(symbols), " ".join(str(n) for n in counts), *rest]
    try:
        factors = [float(token) for token in lines[1].split()]
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            structure = Poscar.from_str("\n".join(plain)).structure
    except _NOT_A_POSCAR as error:
        reason = "a line is missing or too short" if isinstance(error, IndexError) else str(error)[:120]
        raise Unreadable(f"the crystal's header can't be read: {reason}; {MEND}") from error
    lattice = _scaled(np.array(structure.lattice.matrix, dtype=float), factors)
    return Structure(Lattice(lattice), structure.species, structure.frac_coords)


def _symbols_and_counts(lines: list[str]) -> tuple[list[str], list[int], list[str]]:
    """Return element symbols, atoms of each, and the lines that follow; each may take several lines.

    All are checked before pymatgen makes a list of as many atoms as a header claims.
    """
    words = [line.split() for line in lines]
    first = next((i for i, line in enumerate(words) if i >= 5 and line and line[0].isdigit()), len(lines))
    last = next((i for i in range(first, len(lines)) if not words[i] or not words[i][0].isdigit()), len(lines))
    symbols = [token for line in words[5:first] for token in line]
    tokens = [token for line in words[first:last] for token in line]
    if not symbols and tokens:
        raise Unreadable(
            "line 6 holds counts, expected element symbols (VASP 5 or later); insert a line such as `Na Cl` before it"
        )
    if not tokens or not all(re.fullmatch(r"\d{1,12}", token) for token in tokens):
        raise Unreadable(f"no line of atom counts after the element symbols, found {tokens[:5]}; {MEND}")
    elements = [_SYMBOL.match(token) for token in symbols]
    unknown = [t for t, e in zip(symbols, elements, strict=True) if e is None or not Element.is_valid_symbol(e[1])]
    if unknown:
        raise Unreadable(f"unknown element {unknown[0][:20]!r}; write chemical symbols in line 6")
    counts = [int(token) for token in tokens]
    _check_counts(counts, len(symbols), lines[last:])
    return [e[1] for e in elements if e], counts, lines[last:]


def _check_counts(counts: list[int], num_symbols: int, rest: list[str]) -> None:
    if num_symbols != len(counts):
        raise Unreadable(f"the header has {num_symbols} element symbols for {len(counts)} counts; {MEND}")
    sites = list(itertools.takewhile(str.strip, rest))  # velocities may follow a blank line
    total = sum(counts)
    if not 0 < total < len(sites) or sites[-total - 1].strip()[0] in "+-.0123456789":
        raise Unreadable(
            f"the header announces {_plus(counts)} atoms, found {len(sites)} lines, expected `Direct` or `Cartesian` "
            f"and one line an atom; {MEND}"
        )
    if total > MOST_ATOMS:
        raise TooLarge(f"{total} atoms, expected at most {MOST_ATOMS}; give a smaller cell")


def _plus(counts: list[int]) -> str:
    return " + ".join(str(n) for n in counts[:9]) or "no"


def _scaled(lattice: Float[np.ndarray, "3 3"], factors: Sequence[float]) -> Float[np.ndarray, "3 3"]:
    """Return the lattice scaled as VASP does: by a factor, to a volume (negative), or by a factor for each of x, y, z.

    Source: https://www.vasp.at/wiki/index.php/POSCAR
    """
    with np.errstate(all="ignore"):
        volume = abs(np.linalg.det(lattice))
        if not np.isfinite([*factors, volume]).all():
            raise Impossible(f"the lattice or its scale is not a finite number; {MEND}")
        if len(factors) == 3 and min(factors) < 0:
            raise Unreadable(f"scale factors {factors}, expected three positive ones, or one; {MEND}")
        if volume > 0 and factors[0] < 0:
            factors = [(-factors[0] / volume) ** (1 / 3)]
        scaled = lattice * np.array(factors)
        volume = abs(np.linalg.det(scaled))
    if not 0 < volume < np.inf:
        raise Impossible(f"the lattice is singular: volume {volume:.3g} A^3; mend the scale or the three vectors")
    return scaled


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
