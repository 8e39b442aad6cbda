"""CIF and POSCAR: from the text of a file to a crystal, parsed by pymatgen; the cell stays as the file gives it.

Whether a promolecular density can be made of it is for `structure_checks` to say.
"""

import re
import warnings
from typing import Literal

from pymatgen.core import Structure
from pymatgen.io.cif import CifParser

from rhoray.core.errors import Impossible, TooLarge, Unreadable
from rhoray.density.vasp import read_poscar

StructureFormat = Literal["cif", "poscar"]
STRUCTURE_FORMATS: tuple[StructureFormat, ...] = ("cif", "poscar")

# A structure of 2,000 atoms takes 200 kB; a CIF may hold its reflections besides.
MOST_BYTES = 2**24
# How VASP ends the atoms of a CHGCAR, and nobody a POSCAR.
_CHGCAR_HEAD = re.compile(rb"\n \r?\n\Z")
_AFTER_ATOMS = re.compile(rb"\n[ \t\r]*\n[ \t]*(\S[^\n]*)")
_THREE_DECIMALS = re.compile(rb"(?:\s*[-+]?\d*\.\d*(?:[eEdD][-+]?\d+)?){3}\s*")
# What pymatgen raises at garbled CIFs.
_NOT_A_CIF = (ValueError, LookupError, TypeError, AttributeError, AssertionError, RuntimeError, ArithmeticError)
# What pymatgen says of a crystal that lacks atoms its CIF names; its other remarks are about style.
_INCOMPLETE = ("Missing elements", "Incorrect stoichiometry")


def read_structure(content: bytes, form: StructureFormat) -> Structure:
    """Return the crystal of a CIF or POSCAR.

    Args:
        content: the plain bytes of the file.
        form: as `sniff` finds it.

    Raises:
        Unreadable: truncated, garbled, without elements, or several crystals in one file.
        Impossible: a CIF whose formula and sites disagree.
        TooLarge: more than MOST_BYTES.
    """
    if len(content) > MOST_BYTES:
        raise TooLarge(f"a {form.upper()} of {len(content)} bytes, expected at most {MOST_BYTES}")
    if form == "cif":
        return _read_cif(content.decode("latin-1"))
    return read_poscar(_until_velocities(content).decode("latin-1"))


def _until_velocities(content: bytes) -> bytes:
    """Return a POSCAR without what VASP's CONTCAR adds; refuse a CHGCAR that has lost its grid and looks like one."""
    if _CHGCAR_HEAD.search(content):
        raise Unreadable("truncated CHGCAR: it ends before its grid; copy it again")
    after = _AFTER_ATOMS.search(content, content.find(b"\n") + 1)
    if after is None:
        return content
    if not _THREE_DECIMALS.fullmatch(after[1]) and not after[1].lower().startswith(b"lattice velocities"):
        found = after[1].decode("latin-1").strip()[:40]
        raise Unreadable(
            f"after the atoms comes {found!r}, expected the three grid counts of a CHGCAR, or nothing (or velocities) "
            "in a POSCAR; copy the file again"
        )
    return content[: after.start() + 1]


def _read_cif(text: str) -> Structure:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # A site of two elements becomes a disordered one, which the check of order names.
            parser = CifParser.from_str(text, check_cif=False, occupancy_tolerance=float("inf"))
        except _NOT_A_CIF as error:
            raise Unreadable(
                f"the CIF can't be read: a loop, a quote or a name in it is damaged ({_first_line(error)}); copy it "
                "again, or give a POSCAR"
            ) from error
        structures = _structures_of(parser, text)
        remark = parser.check(structures[0]) if structures[0].is_ordered else None
    if remark and remark.startswith(_INCOMPLETE):
        formula = structures[0].composition.reduced_formula
        raise Impossible(
            f"the CIF's sites make {formula}, which is not what its chemical formula says; add the missing atoms "
            "(often hydrogen), or mend the formula"
        )
    return structures[0]


def _structures_of(parser: CifParser, text: str) -> list[Structure]:
    """Return the one crystal of a CIF, in a list."""
    if "_atom_site_fract_x" not in text:
        raise Unreadable("the CIF lists no atoms (_atom_site_fract_x); give the whole file")
    try:
        structures = parser.parse_structures(primitive=False, on_error="ignore")
    except _NOT_A_CIF as error:
        # What was wrong with a block pymatgen keeps among its warnings.
        reason = _first_line(parser.warnings[-1].partition("\n")[2] if parser.warnings else error)
        raise Unreadable(
            f"the CIF gives no crystal: its cell or an atom is incomplete or garbled ({reason}); mend it, or give a "
            "POSCAR"
        ) from error
    if len(structures) > 1:
        raise Unreadable(f"the CIF holds {len(structures)} crystals, expected one; give each a file of its own")
    return structures


def _first_line(error: object) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
