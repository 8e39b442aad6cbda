"""Tell a file's format from its content; names lie, bytes don't."""

import re
from typing import Literal

from rhoray.core.errors import UnknownFormat, Unreadable

Format = Literal["chgcar", "chgcar-json", "cube", "poscar", "cif"]

HEAD = 2**16
BINARY = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
    b"PK\x03\x04": "a ZIP archive",
    b"\x89HDF": "an HDF5 file",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
}
EXPECTED = "expected CHGCAR, CHG, cube, CIF or POSCAR, plain or as gz, bz2 or xz"

_FLOAT = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eEdD][-+]?\d+)?"
_LATTICE_LINE = re.compile(rf"\s*{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}\s*$")
_SCALE_LINE = re.compile(rf"\s*{_FLOAT}(?:\s+{_FLOAT}\s+{_FLOAT})?\s*$")
_GRID_LINE = re.compile(r"^\s*\d+\s+\d+\s+\d+\s*$")
_CUBE_LINE = re.compile(rf"\s*-?\d+\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}(?:\s+\d+)?\s*$")


def sniff(content: bytes) -> Format:
    """Return the format of plain (decompressed) bytes.

    Raises:
        Unreadable: the file is empty.
        UnknownFormat: it is something else; the reason names what it looks like.
    """
    if not content.strip():
        raise Unreadable("the file is empty")
    for magic, name in BINARY.items():
        if content.startswith(magic):
            raise UnknownFormat(f"this is {name}; {EXPECTED}")
    if b"\x00" in content[:HEAD]:
        raise UnknownFormat(f"this is a binary file; {EXPECTED}")
    if content[:HEAD].lstrip().startswith(b"{"):
        return "chgcar-json"
    lines = content[:HEAD].decode("latin-1").splitlines()
    for name, looks_like in (("cif", _is_cif), ("cube", _is_cube), ("poscar", _is_poscar)):
        if looks_like(lines):
            is_grid = name == "poscar" and _has_grid(content)
            return "chgcar" if is_grid else name  # type: ignore[return-value]
    raise UnknownFormat(f"this text begins with {lines[0][:40]!r}; {EXPECTED}")


def _is_cif(lines: list[str]) -> bool:
    text = [line.strip().lower() for line in lines]
    return any(t.startswith("data_") for t in text) and any(t.startswith("_cell") for t in text)


def _is_cube(lines: list[str]) -> bool:
    return len(lines) >= 6 and all(_CUBE_LINE.match(line) for line in lines[2:6])


def _is_poscar(lines: list[str]) -> bool:
    return (
        len(lines) >= 6 and bool(_SCALE_LINE.match(lines[1])) and all(_LATTICE_LINE.match(line) for line in lines[2:5])
    )


def _has_grid(content: bytes) -> bool:
    """Whether a grid line follows the blank line that ends the atoms, as in CHGCAR."""
    head, _, rest = content.partition(b"\n")
    del head
    blank = re.search(rb"\n[ \t\r]*\n", rest)
    if blank is None:
        return False
    tail = rest[blank.end() : blank.end() + 200].decode("latin-1").lstrip().splitlines()
    return bool(tail) and bool(_GRID_LINE.match(tail[0]))
