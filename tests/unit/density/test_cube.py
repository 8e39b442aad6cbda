"""Gaussian cube files: C order, electrons per cubic Bohr, an origin, Bohr or Angstrom."""

import numpy as np
import pytest

from rhoray.core.errors import Impossible, InputRefused, Unreadable
from rhoray.density.cube import BOHR
from rhoray.density.read import read_density
from tests.unit.builders import cube_file, gzipped, skewed


def assert_same(found, expected):
    np.testing.assert_allclose(found.values, expected.values, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(found.lattice, expected.lattice, atol=1e-9)
    np.testing.assert_allclose(found.frac_coords, expected.frac_coords, atol=1e-9)
    assert found.species == expected.species


@pytest.mark.parametrize("origin", [(0, 0, 0), (1.5, -2.0, 0.25)], ids=["origin-0", "origin-elsewhere"])
@pytest.mark.parametrize("unit", [BOHR, 1.0], ids=["bohr", "angstrom"])
def test_round_trip(unit, origin):
    assert_same(read_density(cube_file(skewed(), unit=unit, origin=origin)), skewed())


def test_compressed():
    assert_same(read_density(gzipped(cube_file(skewed()))), skewed())


def test_electrons_are_counted_in_bohr():
    assert read_density(cube_file(skewed())).n_electrons == pytest.approx(15, rel=1e-9)


def test_a_number_of_5000_digits():
    with pytest.raises(Unreadable, match="header"):
        read_density(cube_file(skewed()).replace(b"   10 ", b"1" * 5000 + b" ", 1))


def test_more_values_than_a_float_holds():
    with pytest.raises(InputRefused, match=r"finite|needs"):
        read_density(cube_file(skewed()).replace(b" 0.", b" 1e999", 12))


def test_a_flat_cell():
    lines = cube_file(skewed()).split(b"\n")
    lines[4] = lines[3]
    with pytest.raises((Impossible, Unreadable)):
        read_density(b"\n".join(lines))
