"""CHGCAR: what VASP writes is read to the last electron, what is broken is refused with its reason."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.core.errors import Impossible, InputRefused, UnknownFormat, Unreadable
from rhoray.density.read import read_density
from rhoray.density.vasp import read_chgcar, read_poscar, write_chgcar
from tests.unit.builders import chgcar_text, gzipped, rotation, salt, salt_chgcar, skewed, with_lattice

VALID = salt_chgcar()
GRID_AT = VALID.index(b"    8    9   10")
BODY_AT = VALID.index(b"\n", GRID_AT) + 1


def assert_same(found, expected):
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(found.lattice, expected.lattice, atol=1e-11)
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords, atol=1e-11)
    assert found.species == expected.species


@pytest.mark.parametrize(
    "density",
    [
        pytest.param(salt((8, 9, 10)), id="salt"),
        pytest.param(skewed(), id="skewed"),
        pytest.param(with_lattice(skewed(), skewed().lattice @ rotation(1)), id="rotated"),
        pytest.param(skewed((5, 7, 3)), id="last-row-not-full"),
    ],
)
def test_round_trip(density):
    assert_same(read_density(write_chgcar(density).encode()), density)


def test_a_chgcar_holds_rho_times_volume_first_axis_fastest():
    density = skewed()
    body = write_chgcar(density).split("\n\n", 1)[1].split("\n", 1)[1].split()
    assert np.mean([float(x) for x in body]) == pytest.approx(density.n_electrons, rel=1e-10)
    assert float(body[1]) == pytest.approx(density.values[1, 0, 0] * density.volume, rel=1e-10)


@pytest.mark.parametrize("spin", [False, True], ids=["", "spin"])
@pytest.mark.parametrize("augmentation", [False, True], ids=["", "augmentation"])
def test_what_follows_the_total_density_is_left_unread(spin, augmentation):
    density = skewed()
    text = chgcar_text(density, spin=spin, augmentation=augmentation)
    assert read_density(text.encode()).n_electrons == pytest.approx(15, rel=1e-9)


DIALECTS = {
    "windows line ends": VALID.replace(b"\n", b"\r\n"),
    "no line end at the end": VALID.rstrip(),
    "blank lines at the end": VALID + b"\n \n",
    "blank comment": b" " + VALID[VALID.index(b"\n") :],
    "blanks on the blank line": VALID.replace(b"\n\n", b"\n   \n", 1),
    "ten numbers a row, as CHG": VALID[:BODY_AT]
    + b"\n".join(b" ".join(VALID[BODY_AT:].split()[i : i + 10]) for i in range(0, 720, 10)),
    "vasp 6 potcar hashes": VALID.replace(b"\nNa Cl\n", b"\nNa_pv/f474ac0d Cl/79d9987a\n", 1),
    "negative scale is the volume": VALID.replace(b"\n1.0\n", b"\n-175.616\n", 1),
    "gzip": gzipped(VALID),
}


@pytest.mark.parametrize("name", DIALECTS)
def test_dialect(name):
    assert_same(read_density(DIALECTS[name]), salt((8, 9, 10)))


def test_cartesian_sites_and_a_scale():
    text = VALID.decode().replace("\n1.0\n", "\n2.0\n", 1).replace("5.600000000000", "2.800000000000")
    head, rest = text.split("direct\n", 1)
    sites, grid = rest.split("\n\n", 1)
    rows = [" ".join(f"{2.8 * float(x):.12f}" for x in line.split()[:3]) for line in sites.splitlines()]
    found = read_density("\n".join([head + "Cartesian", *rows, "", grid]).encode())
    assert_same(found, salt((8, 9, 10)))


def replaced(old: bytes, new: bytes, *, at: int = 0) -> bytes:
    assert old in VALID[at:]
    return VALID[:at] + VALID[at:].replace(old, new, 1)


REFUSED = {
    "empty": (b"", Unreadable, "empty"),
    "blanks": (b" \n\n ", Unreadable, "empty"),
    "jpeg": (b"\xff\xd8\xff\xe0" + bytes(99), UnknownFormat, "JPEG"),
    "png": (b"\x89PNG\r\n\x1a\n" + bytes(99), UnknownFormat, "PNG"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(99), UnknownFormat, "HDF5"),
    "pdf": (b"%PDF-1.7", UnknownFormat, "PDF"),
    "zip": (b"PK\x03\x04" + bytes(99), UnknownFormat, "ZIP"),
    "parquet": (b"PAR1" + bytes(99), UnknownFormat, "Parquet"),
    "other binary": (bytes(range(256)), UnknownFormat, "binary"),
    "prose": (b"Dear colleague,\nthe file is attached.\n", UnknownFormat, "Dear colleague"),
    "json": (b'{"rho": [1, 2, 3]}', UnknownFormat, "no CHGCAR in this JSON"),
    "header only": (VALID[:GRID_AT].rstrip() + b"\n \n", Unreadable, "truncated CHGCAR: it ends before its grid"),
    "grid line only": (VALID[:BODY_AT], Unreadable, "truncated"),
    "one value short": (VALID.rsplit(maxsplit=1)[0], Unreadable, "needs 720 values; found 719"),
    "half the file": (VALID[: len(VALID) // 2], Unreadable, "truncated"),
    "too few values": (replaced(b"    8    9   10", b"    8    9   11"), Unreadable, "needs 792 values; found 720"),
    "too many values": (replaced(b"    8    9   10", b"    8    9    9"), Impossible, "more values follow"),
    "a row too many": (VALID + b" 0.1 0.2 0.3 0.4 0.5\n" * 2, Impossible, "more values follow"),
    "a value that does not fit its field": (replaced(b"E-", b"***", at=BODY_AT), Unreadable, r"then '\*\*\*"),
    "stars": (replaced(VALID[BODY_AT : BODY_AT + 18], 18 * b"*", at=BODY_AT), Unreadable, r"found 0, then '\*\*\*"),
    "decimal comma": (replaced(b".", b",", at=BODY_AT), Unreadable, "then ','|then '.*,"),
    "nan": (replaced(VALID[BODY_AT : BODY_AT + 18], b"NaN", at=BODY_AT), InputRefused, "NaN"),
    "infinite": (replaced(b"E-", b"E+9", at=BODY_AT), InputRefused, "infinite|needs 720"),
    "vasp 4": (replaced(b"\nNa Cl\n", b"\n"), Unreadable, "expected element symbols"),
    "vasp 4 with a comment": (replaced(b"\nNa Cl\n4 4\n", b"\n4 4 # Na Cl\n"), Unreadable, "expected element symbols"),
    "no such element": (replaced(b"\nNa Cl\n", b"\nNa Qq\n"), Unreadable, "unknown element"),
    "an atom too few": (replaced(b"\n4 4\n", b"\n4 5\n"), Unreadable, "header"),
    "a billion atoms": (replaced(b"\n4 4\n", b"\n1000000000 4\n"), Unreadable, "announces 1000000004 atoms"),
    "fewer than no atoms": (replaced(b"\n4 4\n", b"\n-4 4\n"), Unreadable, "announces"),
    "no atoms": (replaced(b"\n4 4\n", b"\n0 0\n"), Unreadable, "header"),
    "scale 0": (replaced(b"\n1.0\n", b"\n0.0\n"), Impossible, "singular"),
    "singular lattice": (replaced(b"5.600000000000", b"0.000000000000"), Impossible, "singular"),
    "lattice in picometre": (VALID.replace(b"   5.6", b" 560.6"), Impossible, "Angstrom"),
    "an absurd grid": (replaced(b"    8    9   10", b" 8000 9000 1000"), Impossible, "expected between 1 and"),
    "an empty grid": (replaced(b"    8    9   10", b"    0    9   10"), Impossible, "expected between 1 and"),
    "no charge": (VALID[:BODY_AT] + b" 0.0" * 720, Impossible, "0 electrons"),
    "negative charge": (VALID[:BODY_AT] + b" -1.0" * 720, Impossible, "expected more than 0"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    content, error, reason = REFUSED[name]
    with pytest.raises(error, match=reason) as caught:
        read_density(content)
    assert len(str(caught.value)) < 300


def test_a_grid_count_of_thousands_of_digits():
    with pytest.raises(Impossible, match="grid counts of"):
        read_chgcar(replaced(b"    8    9   10", b"1" * 5000 + b" 9 10"))


# A cut inside the last number can't be told from a shorter number: stop before it.
@pytest.mark.parametrize("share", np.linspace(0.001, 0.995, 40).round(3))
def test_truncated_anywhere(share):
    last = VALID.rindex(b" ") - 1
    with pytest.raises(InputRefused):
        read_density(VALID[: int(share * last)])


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 2**32), cut=st.booleans(), flips=st.integers(0, 12), in_head=st.booleans())
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_damage_never_raises_anything_but_a_refusal(seed, cut, flips, in_head):
    rng = random.Random(seed)  # noqa: S311
    content = bytearray(VALID)
    for _ in range(flips):
        content[rng.randrange(BODY_AT if in_head else len(content))] = rng.choice(b"0123456789 -+.eE\n\t\x00\xff*Na")
    content = bytes(content[: rng.randrange(len(content))]) if cut else bytes(content)
    try:
        density = read_density(content)
    except InputRefused:
        return
    assert np.isfinite(density.values).all()


def test_a_poscar_alone():
    structure = read_poscar(VALID[:GRID_AT].decode())
    assert structure.composition.reduced_formula == "NaCl"


@pytest.mark.shared
@pytest.mark.parametrize(("name", "points"), [("CHGCAR_Li.gz", 32), ("CHGCAR_Li_spin.gz", 48)])
def test_files_that_vasp_itself_wrote(shared, name, points):
    density = read_density((shared / "vasp" / name).read_bytes())
    assert density.species == ("Li",)
    assert density.n_electrons == pytest.approx(1, abs=1e-6)
    assert density.values.shape == (points, points, points)
