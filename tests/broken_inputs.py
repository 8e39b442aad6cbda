"""One catalogue of broken files, and of unusual ones that are whole; unit and cluster tests read both.

Each kind is a small file as a folder or bucket may hold it, the code of its refusal, and words of the reason: what was
found, and what to do. What storage does (no permission, no object, an id twice) is in tests/unit/sources/test_items.py.
"""

import bz2
import functools
import io
import lzma
import re
import struct
import tarfile
import zipfile
import zlib
from typing import NamedTuple

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.cube import BOHR
from tests.unit.builders import chgcar_text, cube_file, gzipped, salt, with_lattice

GRID = b"    8    9   10"
FLOAT = rb"-?\d\.\d{11}E[+-]\d\d"


class Broken(NamedTuple):
    """A broken file and its refusal."""

    file: str
    content: bytes
    code: str
    words: tuple[str, ...]


class Whole(NamedTuple):
    """An unusual file that reads as `expected()`."""

    file: str
    content: bytes


def expected() -> ChargeDensity:
    """Return the density that every whole file holds: rock salt, 8 atoms, 32 electrons."""
    return salt((8, 9, 10))


@functools.cache
def broken_inputs() -> dict[str, Broken]:
    """Return every kind by name."""
    return {
        **_not_a_density(),
        **_compressed(),
        **_truncated(),
        **_header(),
        **_lattice(),
        **_numbers(),
        **_implausible(),
        **_cubes(),
    }


def _chgcar(**options: bool) -> bytes:
    return chgcar_text(expected(), **options).encode()


def _swap(old: bytes, new: bytes, *, count: int = 1, content: bytes | None = None) -> bytes:
    content = _chgcar() if content is None else content
    assert old in content
    return content.replace(old, new, count)


def _first_number(new: bytes) -> bytes:
    return re.sub(FLOAT, new, _chgcar(), count=1)


def _each_number(change) -> bytes:
    return re.sub(FLOAT, lambda m: b"%.11E" % change(float(m[0])), _chgcar())


def _body_at() -> int:
    return _chgcar().index(GRID) + len(GRID) + 1


def _refused(code: str, *words: str, suffix: str = "CHGCAR"):
    """Return what makes a row of the tables below."""

    def row(name: str, content: bytes) -> tuple[str, Broken]:
        return name, Broken(f"{name.replace(' ', '-')}_{suffix}", content, code, words)

    return row


def _not_a_density() -> dict[str, Broken]:
    def unknown(name, content, *words):
        return _refused("unknown-format", *words, "expected CHGCAR")(name, content)

    head = _chgcar()[: _chgcar().index(GRID)].rstrip() + b"\n \n"  # as VASP ends the atoms
    cif = b"data_NaCl\n_cell_length_a 5.64\nloop_\n_atom_site_label\nNa\nCl\n"
    s3 = b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>AccessDenied</Code></Error>'
    potcar = b"  PAW_PBE Na_pv 19Sep2006\n   7.00000000000000\n parameters from PSCTR are:\n   VRHFIN =Na: p6s1\n"
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as z:
        z.writestr("CHGCAR", _chgcar())
    return dict(
        [
            _refused("unreadable", "empty", "copy it again")("zero length", b""),
            _refused("unreadable", "empty", "copy it again")("blanks only", b" \n\n \t\n" * 9),
            unknown("a jpeg", b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(2000), "JPEG"),
            unknown("a pdf", b"%PDF-1.7\n1 0 obj", "PDF"),
            unknown("an hdf5 file", b"\x89HDF\r\n\x1a\n" + bytes(99), "HDF5"),
            unknown("random bytes", np.random.default_rng(0).bytes(5000), "binary"),
            unknown("prose", b"Dear colleague,\nthe file is attached.\n", "Dear colleague", "copy the file again"),
            unknown("json", b'{"rho": [1, 2, 3]}', "JSON"),
            unknown("an html page", b"<!DOCTYPE html>\n<html><body>Sign in</body></html>", "HTML", "download"),
            unknown("an s3 error", s3, "error message of an object store", "check the address"),
            unknown("vasprun xml", b'<?xml version="1.0"?>\n<modeling>\n', "vasprun.xml", "CHGCAR of the same run"),
            unknown("git lfs pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:0a\n", "git lfs pull"),
            unknown("potcar", potcar, "POTCAR", "give the CHGCAR"),
            unknown("outcar", b" vasp.6.4.2 20Jul23 (build) complex\n executed on\n", "OUTCAR", "give the CHGCAR"),
            unknown("utf 16", _chgcar().decode().encode("utf-16"), "UTF-16", "plain ASCII"),
            unknown("utf 16 without a mark", _chgcar().decode().encode("utf-16-le"), "UTF-16"),
            unknown("old mac line ends", _chgcar().replace(b"\n", b"\r"), "CR alone", "convert"),
            _refused("unreadable", "before its grid", "copy it again")("cut before the grid", head),
            _refused("unreadable", "before its grid", "copy it again")("cut before the grid gz", gzipped(head)),
            _refused("unreadable", "lists no atoms", "give the whole file")("cif without sites", cif),
            unknown("zip archive", archive.getvalue(), "ZIP", "unpack"),
            unknown("zstandard", b"\x28\xb5\x2f\xfd\x04\x00" + bytes(40), "Zstandard", "gzip"),
        ]
    )


def _compressed() -> dict[str, Broken]:
    bad = functools.partial(_refused, "unreadable", "copy the file again, in binary mode")
    unknown = functools.partial(_refused, "unknown-format")
    packed = gzipped(_chgcar())
    flipped = bytearray(packed)
    flipped[len(flipped) // 2] ^= 0xFF
    tar = io.BytesIO()
    with tarfile.open(fileobj=tar, mode="w:gz") as archive:
        info = tarfile.TarInfo("CHGCAR")
        info.size = len(_chgcar())
        archive.addfile(info, io.BytesIO(_chgcar()))
    bz, xz = bz2.compress(_chgcar()), lzma.compress(_chgcar())
    nothing = bytes(2**26 + 1)
    return dict(
        [
            bad("truncated gzip", suffix="CHGCAR.gz")("truncated gz", packed[: len(packed) // 2]),
            bad("truncated gzip", suffix="CHGCAR.gz")("gz without its checksum", packed[:-8]),
            bad("truncated gzip", suffix="CHGCAR.gz")("gz header only", packed[:10]),
            bad("truncated bzip2", suffix="CHGCAR.bz2")("truncated bz2", bz[: len(bz) // 2]),
            bad("truncated xz", suffix="CHGCAR.xz")("truncated xz", xz[: len(xz) // 2]),
            bad("damaged", suffix="CHGCAR.gz")("one byte of a gz changed", bytes(flipped)),
            bad("damaged", suffix="CHGCAR.gz")("gz copied as text", packed.replace(b"\n", b"\r\n")),
            _refused("too-large", "xz -9", suffix="CHGCAR.xz")("xz with a 4 GiB dictionary", _large_dictionary(xz)),
            unknown("compressed twice", "unpack it once", suffix="CHGCAR.gz")("gz twice", gzipped(packed)),
            unknown("tar archive", "unpack it", suffix="CHGCAR.tar.gz")("tar gz", tar.getvalue()),
            _refused("too-large", "bomb", suffix="CHGCAR.gz")("gz bomb", gzipped(nothing)),
            _refused("too-large", "bomb", suffix="CHGCAR.bz2")("bz2 bomb", bz2.compress(nothing)),
        ]
    )


def _large_dictionary(xz: bytes) -> bytes:
    """Return an xz stream whose block header asks for a dictionary of 4 GiB, with the checksum that belongs to it."""
    size = 4 * (xz[12] + 1)
    block = bytearray(xz[12 : 12 + size - 4])
    assert block[2:4] == b"\x21\x01"  # LZMA2, one byte of properties
    block[4] = 40
    return xz[:12] + bytes(block) + struct.pack("<I", zlib.crc32(block)) + xz[12 + size :]


def _truncated() -> dict[str, Broken]:
    cut = _refused("unreadable", "truncated", "copy")
    text, both = _chgcar(), _chgcar(spin=True, augmentation=True)
    last = text.rstrip()
    second = both.index(GRID.strip().replace(b"    ", b" ").replace(b"   ", b" "), len(text))
    return dict(
        [
            _refused("unknown-format", "garbled", "copy the file again")("cut in the lattice", text[:60]),
            _refused("unreadable", "header", "copy the file again")(
                "cut in the atoms", text[: text.index(b"\n\n") - 20]
            ),
            _refused("unreadable", "three grid counts")("cut in the grid line", text[: text.index(GRID) + 9]),
            cut("cut after the grid line", text[: _body_at()]),
            cut("cut in the values", text[: len(text) // 2]),
            cut("a line short", text[: last.rindex(b"\n") + 1]),
            cut("a value short", last[: last.rindex(b" ")] + b"\n"),
            cut("cut inside the last number", last[:-7]),
            cut("cut inside the last exponent", last[:-1]),
            cut("cut before the last exponent", last[:-2]),
            cut("cut in an exponent", text[: text.index(b"E", len(text) // 2) + 1]),
            cut("cut in the occupancies", _chgcar(augmentation=True)[:-40]),
            cut("cut between occupancies", _cut_before(_chgcar(augmentation=True), b"augmentation occupancies   7")),
            cut("cut in the word augmentation", _chgcar(augmentation=True)[: len(text) + 12]),
            _refused("impossible", "cut before its next grid", "copy")("cut in the moments", both[: second - 12]),
            cut("cut in the magnetisation", both[: second + 3000]),
            cut("cut in the magnetisations occupancies", both[:-60]),
        ]
    )


def _cut_before(content: bytes, word: bytes) -> bytes:
    return content[: content.index(word)]


def _header() -> dict[str, Broken]:
    bad = functools.partial(_refused, "unreadable")
    sites = _chgcar()[: _chgcar().index(GRID)].rstrip().split(b"\n")[-8:]
    same = _swap(sites[1], sites[0])
    many = _swap(b"\n4 4\n", b"\n20000 4\n").replace(sites[0] + b"\n", 19997 * (sites[0] + b"\n"), 1)
    return dict(
        [
            bad("expected element symbols", "insert a line")("vasp 4 header", _swap(b"\nNa Cl\n", b"\n")),
            bad("unknown element", "write chemical symbols")("no such element", _swap(b"\nNa Cl\n", b"\nNa Qq\n")),
            bad("4 + 5 atoms", "mend the header")("an atom too few", _swap(b"\n4 4\n", b"\n4 5\n")),
            bad("4 + 3 atoms", "mend the header")("an atom too many", _swap(b"\n4 4\n", b"\n4 3\n")),
            bad("1000000000 + 4 atoms", "mend")("a billion atoms", _swap(b"\n4 4\n", b"\n1000000000 4\n")),
            bad("announces 0 + 0 atoms", "mend")("no atoms", _swap(b"\n4 4\n", b"\n0 0\n")),
            bad("no line of atom counts", "mend")("fewer than no atoms", _swap(b"\n4 4\n", b"\n-4 4\n")),
            bad("unknown element", "symbols")("a count for a symbol", _swap(b"\nNa Cl\n", b"\nNa 17\n")),
            bad("3 element symbols for 2", "mend")("a symbol too many", _swap(b"\nNa Cl\n", b"\nNa Cl O\n")),
            bad("1 element symbols for 2", "mend")("a symbol too few", _swap(b"\nNa Cl\n", b"\nNa\n")),
            bad("can't be read", "mend the header")("stars for a coordinate", _swap(sites[2].split()[0], 14 * b"*")),
            _refused("impossible", "not a finite number", "mend")(
                "nan for a coordinate", _swap(sites[2].split()[0], b"nan")
            ),
            _refused("impossible", "at one place", "mend")("two atoms at one place", same),
            _refused("too-large", "20004 atoms", "smaller cell")("twenty thousand atoms", many),
        ]
    )


def _lattice() -> dict[str, Broken]:
    bad = functools.partial(_refused, "impossible")
    flat = re.sub(rb"(?m)^.*5\.600000000000 .*\n.*5\.600000000000.*$", b"5.6 0.0 0.0\n5.6 0.0 0.0", _chgcar(), count=1)
    mirror = _swap(b"   5.600000000000 ", b"  -5.600000000000 ")
    return dict(
        [
            bad("singular", "mend")("scale 0", _swap(b"\n1.0\n", b"\n0.0\n")),
            bad("singular", "mend")("two vectors alike", flat),
            bad("left-handed", "another order")("left handed lattice", mirror),
            bad("is it in Angstrom")("lattice in picometre", _swap(b"   5.6", b" 560.6", count=9)),
            bad("A^3 per atom", "in Angstrom")("lattice in nanometre", _swap(b"\n1.0\n", b"\n0.1\n")),
            _refused("unreadable", "three positive")("two negative scales", _swap(b"\n1.0\n", b"\n1.0 -1.0 -1.0\n")),
        ]
    )


def _numbers() -> dict[str, Broken]:
    bad = functools.partial(_refused, "unreadable")
    wrong = functools.partial(_refused, "impossible")
    return dict(
        [
            wrong("expected between 1 and", "mend")("an absurd grid", _swap(GRID, b" 8000 9000 1000")),
            wrong("expected between 1 and", "mend")("an empty grid", _swap(GRID, b"    0    9   10")),
            wrong("of 100 digits", "mend")("a grid count of 100 digits", _swap(GRID, b"1" * 100 + b" 9 10")),
            _refused("unreadable", "three grid counts")("two grid counts", _swap(GRID, b"    8   90")),
            _refused("unreadable", "three grid counts")("a negative grid count", _swap(GRID, b"   -8    9   10")),
            bad("needs 792 values; found 720", "copy")("too few values", _swap(GRID, b"    8    9   11")),
            wrong("header disagree", "mend")("too many values", _swap(GRID, b"    8    9    9")),
            wrong("header disagree", "mend")("a few values too many", _chgcar() + b" 0.1 0.2 0.3\n"),
            wrong("header disagree", "mend")(
                "another grid for the spin", _chgcar(spin=True).replace(b" 8 9 10\n", b" 9 9 10\n")
            ),
            bad("stars", "rerun")("stars for a value", _first_number(18 * b"*")),
            bad("stars", "rerun")("stars in a value", _first_number(b"1.0***")),
            bad("no commas", "decimal point")("decimal comma", _first_number(b"1,00000000000E+01")),
            bad("no commas", "found 1")("comma after a value", _first_number(b"1.0,2.0")),
            bad("found 1, then 'none'", "expected numbers only")("a word among the values", _first_number(b"1.0 none")),
            wrong("1 of 720 grid values are NaN", "rerun")("nan", _first_number(b"NaN")),
            wrong("infinite", "rerun")("infinity", _first_number(b"-Infinity")),
            bad("needs 720", "copy")("a value beyond double precision", _first_number(b"1.0E+999")),
            wrong("electrons", "expected")("a value of 1e300", _first_number(b"1.0E+300")),
            _refused("unknown-format", "failed copy")(
                "a page of zero bytes inside", _chgcar()[:9000] + bytes(4096) + _chgcar()[9000:]
            ),
        ]
    )


def _implausible() -> dict[str, Broken]:
    bad = functools.partial(_refused, "impossible")
    volume = expected().volume
    rng = np.random.default_rng(0)
    return dict(
        [
            bad("0 electrons", "total charge")("no charge", _each_number(lambda _: 0.0)),
            bad("expected more than 0", "total charge")("negative charge", _each_number(lambda x: -x)),
            bad("negative charge of", "spin")("a difference density", _each_number(lambda x: x - 25)),
            bad("total charge")("a potential", _each_number(lambda _: rng.normal())),
            bad("is it rho instead of rho x V")("rho in place of rho x v", _each_number(lambda x: x / volume)),
            bad("multiplied by V twice")("rho x v x v", _each_number(lambda x: x * volume)),
            bad("electrons per voxel", "Write")("electrons per voxel", _each_number(lambda x: x / 720)),
            bad("a spin density, PARCHG", "expected between 32 and")("one band", _each_number(lambda x: x / 16)),
            bad("0.5 electrons, expected", "spin")("an elf", _each_number(lambda _: 0.5)),
            bad("same cell")("density of another cell", _swap(b"\nNa Cl\n", b"\nH He\n")),
        ]
    )


def _cubes() -> dict[str, Broken]:
    bad = functools.partial(_refused, "unreadable", suffix="rho.cube")
    wrong = functools.partial(_refused, "impossible", suffix="rho.cube")
    good, n = cube_file(expected()), b"\n    8 "
    lines = good.split(b"\n")
    in_angstrom = ChargeDensity(expected().values / BOHR**3, expected().lattice, *_sites())
    return dict(
        [
            bad("header", "copy the file again")("cube cut in the atoms", b"\n".join(lines[:9])),
            bad("truncated", "copy")("cube cut after the atoms", b"\n".join(lines[:14])),
            bad("truncated", "copy")("cube cut in the values", good[: len(good) // 2]),
            bad("truncated", "copy")("cube a value short", cube_file(expected(), drop=1)),
            bad("truncated", "copy")("cube cut inside the last number", good.rstrip()[:-7]),
            wrong("more values follow", "mend")("cube with too many values", good + b"0.1 0.2\n"),
            wrong("expected between 1 and", "mend")(
                "cube with an absurd grid", good.replace(lines[3], b"999999999 0.1 0.0 0.0", 1)
            ),
            bad("orbitals", "total density")("cube of orbitals", good.replace(n, b"\n   -8 ", 1)),
            bad("2 values a point", "alone")("cube of two fields", good.replace(lines[2], lines[2] + b" 2", 1)),
            bad("header", "mend it")("cube with no such element", good.replace(b"\n   11 ", b"\n  999 ", 1)),
            bad("atoms can't fit", "copy")("cube with a billion atoms", good.replace(n, b"\n999999999 ", 1)),
            wrong("singular", "mend")("cube with a flat cell", good.replace(lines[4], lines[3].replace(b"8", b"9", 1))),
            wrong("e/A^3 in a cube file")("cube in electrons per cubic angstrom", cube_file(in_angstrom)),
            wrong("left-handed")("cube of a left handed cell", cube_file(with_lattice(expected(), -5.6 * np.eye(3)))),
            bad("stars", "rerun")("cube with stars", good.replace(lines[20].split()[0], 18 * b"*", 1)),
            wrong("NaN", "rerun")("cube with nan", good.replace(lines[20].split()[0], b"NaN", 1)),
        ]
    )


def _sites():
    return expected().species, expected().frac_coords


@functools.cache
def whole_inputs() -> dict[str, Whole]:
    """Return unusual files that must be read, by name; each holds `expected()`."""
    text = _chgcar()
    numbers = text[_body_at() :].split()
    chg = b"\n".join(b" ".join(numbers[i : i + 10]) for i in range(0, 720, 10)) + b"\n"
    kinds = {
        "windows line ends": text.replace(b"\n", b"\r\n"),
        "no line end at the end": text.rstrip(),
        "blank lines at the end": text + b"\n \n\n",
        "blank comment": b" " + text[text.index(b"\n") :],
        "utf 8 mark": b"\xef\xbb\xbf" + text,
        "utf 8 comment": "NaCl at 5.6 Å, 300 K…".encode() + text[text.index(b"\n") :],
        "blanks on the blank line": text.replace(b"\n\n", b"\n   \n", 1),
        "CHG, ten values a line": text[: _body_at()] + chg,
        "one value a line": text[: _body_at()] + b"\n".join(numbers),
        "augmentation": _chgcar(augmentation=True),
        "spin": _chgcar(spin=True),
        "spin and augmentation": _chgcar(spin=True, augmentation=True),
        "moments without a magnetisation": _cut_before(_chgcar(spin=True, augmentation=True), b" 8 9 10\n"),
        "stars among the occupancies": _chgcar(augmentation=True).replace(b"0.1000000E+03", b"*************"),
        "non-collinear": text + 3 * _chgcar(spin=True)[len(text) :],
        "vasp 6 potcar hashes": text.replace(b"\nNa Cl\n", b"\nNa_pv/f474ac0d Cl/79d9987a\n", 1),
        "vasp 6.5 spacing": re.sub(rb"(?m)^ *(\d\.\d+) +(\d\.\d+) +(\d\.\d+) \w\w$", rb"     \1     \2     \3", text),
        "selective dynamics": _selective(text),
        "cartesian": _cartesian(text),
        "a scale": _scaled(text, b"2.0", 2.0),
        "a negative scale is the volume": _scaled(text, b"-175.616", 3.0),
        "a negative scale and cartesian": _scaled(_cartesian(text), b"-175.616", 1.0),
        "three scales": _scaled(text, b"2.0 2.0 2.0", 2.0),
        "D exponents": text[: _body_at()] + text[_body_at() :].replace(b"E", b"D"),
        "no letter before three digits": text[: _body_at()] + _no_letter(text[_body_at() :]),
        "gz": gzipped(text),
        "two gz members": gzipped(text[:9000]) + gzipped(text[9000:]),
        "bz2": bz2.compress(text),
        "xz": lzma.compress(text),
        "xz -9": lzma.compress(text, preset=9),
    }
    cubes = {
        "cube": cube_file(expected()),
        "cube in angstrom": cube_file(expected(), unit=1.0),
        "cube with an origin": cube_file(expected(), origin=(1.5, -2.0, 0.25)),
        "cube with windows line ends": cube_file(expected()).replace(b"\n", b"\r\n"),
        "cube with D exponents": cube_file(expected()).replace(b"E-", b"D-").replace(b"E+", b"D+"),
        "cube gz": gzipped(cube_file(expected())),
    }
    files = {name: Whole(f"{name.replace(' ', '-')}_CHGCAR", content) for name, content in kinds.items()}
    return files | {name: Whole(f"{name.replace(' ', '-')}.cube", content) for name, content in cubes.items()}


def _site_lines(text: bytes) -> list[bytes]:
    return text[: text.index(GRID)].rstrip().split(b"\n")[-8:]


def _selective(text: bytes) -> bytes:
    for line in _site_lines(text):
        text = text.replace(line + b"\n", b" ".join(line.split()[:3]) + b" T T F\n", 1)
    return text.replace(b"direct\n", b"Selective dynamics\nDirect\n", 1)


def _cartesian(text: bytes) -> bytes:
    for line in _site_lines(text):
        sites = b" ".join(b"%.12f" % (5.6 * float(x)) for x in line.split()[:3])
        text = text.replace(line + b"\n", sites + b"\n", 1)
    return text.replace(b"direct\n", b"Cartesian\n", 1)


def _scaled(text: bytes, scale: bytes, factor: float) -> bytes:
    return text.replace(b"\n1.0\n", b"\n" + scale + b"\n", 1).replace(b"5.600000000000", b"%.12f" % (5.6 / factor))


def _no_letter(text: bytes) -> bytes:
    """Print exponents as Fortran does those of three digits: 1.5+001 is 15."""
    return re.sub(rb"E([-+])(?=\d\d\b)", rb"\g<1>0", text)
