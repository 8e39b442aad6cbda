"""Gaussian cube files: C order, electrons per cubic Bohr, an origin, Bohr or Angstrom."""

import numpy as np
import pytest
from pymatgen.core import Element

from rhoray.core.errors import Impossible, Unreadable
from rhoray.density.cube import BOHR
from rhoray.density.read import read_density
from tests.unit.builders import gzipped, skewed


def cube(density, *, origin=(0.0, 0.0, 0.0), unit=BOHR, extra="", drop=0) -> bytes:
    """Return a cube file; `origin` is in Angstrom, `unit` that of its lengths."""
    origin = np.array(origin)
    sites = density.frac_coords @ density.lattice + origin
    sign = -1 if unit == 1.0 else 1
    lines = ["made by a test", "rho", "{:5d} {:.12f} {:.12f} {:.12f}".format(density.n_atoms, *origin / unit)]
    for n, vector in zip(density.values.shape, density.lattice, strict=True):
        lines.append("{:5d} {:.12f} {:.12f} {:.12f}".format(sign * n, *vector / n / unit))
    for symbol, site in zip(density.species, sites, strict=True):
        lines.append("{:5d} {:.4f} {:.12f} {:.12f} {:.12f}".format(Element(symbol).Z, 0.0, *site / unit))
    flat = [f"{x:.12E}" for x in (density.values * BOHR**3).ravel()]
    flat = flat[: len(flat) - drop]
    lines += [" ".join(flat[i : i + 6]) for i in range(0, len(flat), 6)]
    return ("\n".join(lines) + "\n" + extra).encode()


def assert_same(found, expected):
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.lattice, expected.lattice, atol=1e-9)
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords, atol=1e-9)
    assert found.species == expected.species


@pytest.mark.parametrize("origin", [(0, 0, 0), (1.5, -2.0, 0.25)], ids=["origin-0", "origin-elsewhere"])
@pytest.mark.parametrize("unit", [BOHR, 1.0], ids=["bohr", "angstrom"])
def test_round_trip(unit, origin):
    assert_same(read_density(cube(skewed(), unit=unit, origin=origin)), skewed())


def test_compressed():
    assert_same(read_density(gzipped(cube(skewed()))), skewed())


def test_electrons_are_counted_in_bohr():
    assert read_density(cube(skewed())).n_electrons == pytest.approx(15, rel=1e-9)


REFUSED = {
    "too few values": (cube(skewed(), drop=3), Unreadable, "truncated"),
    "half the values": (cube(skewed(), drop=900), Unreadable, "truncated"),
    "too many values": (cube(skewed(), extra="0.1 0.2\n"), Impossible, "more values follow"),
    "an absurd grid": (cube(skewed()).replace(b"   10 ", b"999999999 ", 1), Impossible, "grid"),
    "orbitals": (cube(skewed()).replace(b"    3 0.0", b"   -3 0.0", 1), Unreadable, "orbitals"),
    "no such element": (cube(skewed()).replace(b"\n   26 ", b"\n  260 ", 1), Unreadable, "header"),
    "no atoms left": (b"\n".join(cube(skewed()).split(b"\n")[:6]), Unreadable, "header"),
    "garbled": (cube(skewed()).replace(b"E-0", b"E-*", 1), Unreadable, "needs"),
    "a billion atoms": (cube(skewed()).replace(b"    3 ", b"999999999 ", 1), Unreadable, "atoms"),
    "a number of 5000 digits": (cube(skewed()).replace(b"   10 ", b"1" * 5000 + b" ", 1), Unreadable, "header"),
    "infinite voxel": (cube(skewed()).replace(b" 0.", b" 1e999", 12), Impossible, "finite"),
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    content, error, reason = REFUSED[name]
    with pytest.raises(error, match=reason):
        read_density(content)


def test_a_flat_cell():
    lines = cube(skewed()).split(b"\n")
    lines[4] = lines[3]
    with pytest.raises((Impossible, Unreadable)):
        read_density(b"\n".join(lines))
