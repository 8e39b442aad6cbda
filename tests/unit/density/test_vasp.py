"""CHGCAR: what VASP writes is read to the last electron, what is broken is refused with its reason."""

import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.core.errors import Impossible, InputRefused
from rhoray.density.read import read_density
from rhoray.density.vasp import read_chgcar_and_spin, read_poscar, write_chgcar
from tests.unit.builders import chgcar_text, rotation, salt, salt_chgcar, skewed, with_lattice

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


def test_a_grid_count_of_thousands_of_digits():
    with pytest.raises(Impossible, match="grid counts of"):
        read_chgcar_and_spin(replaced(b"    8    9   10", b"1" * 5000 + b" 9 10"))


@pytest.mark.parametrize("share", np.linspace(0.001, 0.995, 40).round(3))
def test_truncated_anywhere(share):
    with pytest.raises(InputRefused):
        read_density(VALID[: int(share * len(VALID))])


@pytest.mark.parametrize("lost", range(2, 60))
def test_truncated_near_the_end_or_inside_the_last_number(lost):
    with pytest.raises(InputRefused):
        read_density(VALID[:-lost])


@pytest.mark.parametrize("share", np.linspace(0.001, 0.995, 40).round(3))
def test_truncated_after_the_density(share):
    whole = chgcar_text(salt((8, 9, 10)), spin=True, augmentation=True).encode()
    with pytest.raises(InputRefused):
        read_density(whole[: len(VALID) + int(share * (len(whole) - len(VALID)))])


def varied(form: str) -> bytes:
    """Return VALID without a line end, its numbers in a format of varying width."""
    return VALID[:BODY_AT] + " ".join(format(float(x), form) for x in VALID[BODY_AT:].split()).encode()


@pytest.mark.parametrize("form", ["g", ".9g", "r", ".11E", ".17e", ".3f"])
def test_a_whole_file_without_a_line_end_is_not_taken_for_cut(form):
    text = varied(form.replace("r", ""))
    assert read_density(text).n_electrons == pytest.approx(32, rel=1e-3)


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
