"""Tell a file's format from its content; names lie, bytes don't."""

import re
from typing import Literal

from rhoray.core.errors import UnknownFormat, Unreadable

Format = Literal["chgcar", "chgcar-json", "cube", "poscar", "cif"]

HEAD = 2**16
EXPECTED = "expected CHGCAR, CHG, cube, CIF or POSCAR, plain or as gz, bz2 or xz"
BINARY = {
    b"\xff\xd8\xff": "a JPEG image",
    b"\x89PNG": "a PNG image",
    b"%PDF": "a PDF document",
    b"\x89HDF": "an HDF5 file",
    b"CDF\x01": "a NetCDF file",
    b"PAR1": "a Parquet file",
    b"\x93NUMPY": "a NumPy array",
    b"PK\x03\x04": "a ZIP archive: unpack it, and give the file inside",
    b"7z\xbc\xaf": "a 7-Zip archive: unpack it, and give the file inside",
    b"\x28\xb5\x2f\xfd": "compressed with Zstandard: unpack it, then compress with gzip",
    b"\x1f\x9d": "compressed with `compress`: unpack it, then compress with gzip",
    b"\x1f\x8b": "compressed twice, inside it is gzip: unpack it once",
    b"BZh91AY&SY": "compressed twice, inside it is bzip2: unpack it once",
    b"\xfd7zXZ": "compressed twice, inside it is xz: unpack it once",
    b"\xff\xfe": "UTF-16 text: save it as plain ASCII",
    b"\xfe\xff": "UTF-16 text: save it as plain ASCII",
}
# Texts that are often taken for a density, by how they begin (lower case).
TEXTS = (
    (rb"version https://git-lfs", "a Git LFS pointer, not the file: run `git lfs pull`"),
    (rb"<!doctype html|<html", "an HTML page, perhaps of a login or an error: download the file again"),
    (rb"<\?xml[^\0]{0,200}<error>", "an error message of an object store: check the address and download again"),
    (rb"<\?xml|<modeling", "an XML file such as vasprun.xml: give the CHGCAR of the same run"),
    (rb"[\[{]", "JSON: give the CHGCAR or cube itself"),
    (rb"vasp\.\d", "an OUTCAR: give the CHGCAR of the same run"),
    (rb"(?:paw|us|nc)(?:_\w+)? [^\0]{0,200}parameters from pscctr|(?:paw|us|nc)_\w+ [^\n]*\n\s*[\d.]+\s*\n\s*param",
     "a POTCAR, a pseudopotential: give the CHGCAR of the run"),
)  # fmt: skip

# One way to match any digits, or a line of them would take quadratic time.
_FLOAT = r"[-+]?(?:\d+(?:\.\d*)?|\.\d+)(?:[eEdD][-+]?\d+)?"
_END = r"\s*(?:\s[!#].*)?$"  # a comment may follow
_LATTICE_LINE = re.compile(rf"\s*{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}{_END}")
_SCALE_LINE = re.compile(rf"\s*{_FLOAT}(?:\s+{_FLOAT}\s+{_FLOAT})?{_END}")
_GRID_LINE = re.compile(rb"\s*\d+[ \t]+\d+[ \t]+\d+[ \t\r]*(?:\n|$)")
_CUBE_LINE = re.compile(rf"\s*-?\d+\s+{_FLOAT}\s+{_FLOAT}\s+{_FLOAT}(?:\s+\d+)?\s*$")
_BLANK_LINE = re.compile(rb"\n[ \t\r]*\n")


def sniff(content: bytes) -> Format:
    """Return the format of plain (decompressed) bytes.

    Raises:
        Unreadable: the file is empty.
        UnknownFormat: it is something else; the reason names what it looks like.
    """
    head = content[:HEAD]
    if not head.strip():
        raise Unreadable("the file is empty or begins with blanks only; copy it again, or rerun what wrote it")
    _refuse_binary(head)
    if head.lstrip().startswith(b"{"):
        return "chgcar-json"
    # Not splitlines: it would break a line at the second byte of an A with a ring in UTF-8.
    lines = head.decode("latin-1").split("\n")
    for name, looks_like in (("cif", _is_cif), ("cube", _is_cube), ("poscar", _is_poscar)):
        if looks_like(lines):
            is_grid = name == "poscar" and _has_grid(content)
            return "chgcar" if is_grid else name  # type: ignore[return-value]
    raise UnknownFormat(_describe(head))


def _refuse_binary(head: bytes) -> None:
    for magic, name in BINARY.items():
        if head.startswith(magic):
            raise UnknownFormat(f"this is {name}; {EXPECTED}")
    if head[257:262] == b"ustar":
        raise UnknownFormat(f"this is a tar archive: unpack it, and give the file inside; {EXPECTED}")
    if b"\x00" in head:
        if bytes(20) in (head[0:40:2], head[1:41:2]):
            raise UnknownFormat(f"this is UTF-16 text: save it as plain ASCII; {EXPECTED}")
        raise UnknownFormat(f"this is a binary file, or one that a failed copy filled with zeros; {EXPECTED}")


def _describe(head: bytes) -> str:
    """Return what a text that is no density looks like."""
    start = head[:1024].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    for pattern, name in TEXTS:
        if re.match(pattern, start):
            return f"this is {name}; {EXPECTED}"
    if b"\r" in head and b"\n" not in head:
        return f"its lines end in CR alone, as on an old Mac: convert with `tr '\\r' '\\n'`; {EXPECTED}"
    first = head.decode("latin-1").strip().split("\n")[0][:40]
    return f"this text begins with {first!r}; {EXPECTED}; or its header is garbled: copy the file again"


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
    blank = _BLANK_LINE.search(content, content.find(b"\n") + 1)
    return blank is not None and _GRID_LINE.match(content[blank.end() : blank.end() + 200]) is not None
