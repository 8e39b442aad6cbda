"""CIF and POSCAR: what is a crystal becomes its promolecular density, what is none is refused with its reason."""

import contextlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import Impossible, InputRefused, TooLarge, UnknownFormat, Unreadable
from rhoray.density.promolecule import promolecular_density
from rhoray.density.read import read_density
from rhoray.density.structure_checks import MOST_ATOMS, check_structure
from rhoray.density.structure_files import MOST_BYTES, read_structure
from tests.unit.builders import gzipped

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
POSCAR = Poscar(SALT).get_str().encode()
OPERATIONS = "\n".join(f" '{op}'" for op in ("x,y,z", "x,y+1/2,z+1/2", "x+1/2,y,z+1/2", "x+1/2,y+1/2,z"))
CIF = f"""data_NaCl
_cell_length_a 5.64(1)
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_chemical_formula_sum 'Na4 Cl4'
loop_
_symmetry_equiv_pos_as_xyz
{OPERATIONS}
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
_atom_site_occupancy
Na1 Na+ 0 0 0 1
Cl1 Cl- 0.5 0.5 0.5(2) 1
""".encode()


def changed(old: str, new: str, count: int = 1) -> bytes:
    assert old.encode() in CIF
    return CIF.replace(old.encode(), new.encode(), count)


VARIANTS = {
    "cif": CIF,
    "poscar": POSCAR,
    "cif by pymatgen, without symmetry": str(CifWriter(SALT)).encode(),
    "windows line ends": CIF.replace(b"\n", b"\r\n"),
    "poscar with windows line ends": POSCAR.replace(b"\n", b"\r\n"),
    "comments before": b"# from a data base\n\n" + CIF,
    "utf-8 in a comment": "# Größe in Å\n".encode() + CIF,
    "gzip": gzipped(CIF),
    "contcar with velocities": POSCAR + b"\n" + 8 * b"  0.0 0.0 0.0\n",
    "contcar with lattice velocities": POSCAR + b"\nLattice velocities and vectors\n  1\n" + 6 * b"  0.0 0.0 0.0\n",
    "blank lines at the end": POSCAR + b"\n\n",
    "no occupancies": CIF.replace(b"_atom_site_occupancy\n", b"").replace(b" 1\n", b"\n"),
    "no formula": changed("_chemical_formula_sum 'Na4 Cl4'\n", ""),
    "formula of one unit": changed("'Na4 Cl4'", "'Na Cl'"),
    "a block of remarks first": b"data_global\n_journal_year 2015\n" + CIF,
    "occupancy refined above 1": changed("0 0 0 1", "0 0 0 1.02"),
}


@pytest.mark.parametrize("name", VARIANTS)
def test_every_way_to_write_it_gives_one_density(name):
    density, expected = read_density(VARIANTS[name]), promolecular_density(SALT)
    assert density.kind == "promolecular"
    assert sorted(density.species) == sorted(expected.species)
    assert density.n_electrons == pytest.approx(56, abs=1e-9)
    # Files differ in which of the two elements' sites is the origin, and in digits.
    np.testing.assert_allclose(np.sort(density.values.ravel()), np.sort(expected.values.ravel()), atol=1e-3)


def test_the_cell_stays_as_it_is():
    cell = Structure(Lattice.cubic(5.64), SALT.species, SALT.frac_coords) * (2, 1, 1)
    density = read_density(Poscar(cell).get_str().encode())
    np.testing.assert_allclose(density.lattice, cell.lattice.matrix, atol=1e-6)
    assert density.n_atoms == 16


REFUSED = {
    "partial occupancy": (changed("0 0 0 1", "0 0 0 0.5"), Impossible, "4 of 8 sites are disordered or partly"),
    "two elements at one site": (
        changed("Na1 Na+ 0 0 0 1", "Na1 Na+ 0 0 0 0.5\nK1 K+ 0 0 0 0.5"), Impossible, "disordered",
    ),
    "two whole atoms at one site": (changed("Cl1 Cl- 0.5 0.5 0.5(2)", "Cl1 Cl- 0 0 0"), Impossible, "disordered"),
    "overlapping atoms": (changed("0.5(2)", "0.11"), Impossible, r"atoms overlap: \w+ at .* are 0.62 A apart"),
    "no hydrogen sites": (changed("'Na4 Cl4'", "'Na4 Cl4 H8'"), Impossible, "sites make NaCl, which is not what its"),
    "too little sodium": (changed("'Na4 Cl4'", "'Na8 Cl4'"), Impossible, "sites make NaCl"),
    "lattice in picometre": (CIF.replace(b"5.64", b"564"), Impossible, "is it in Angstrom"),
    "lattice in Bohr halves": (CIF.replace(b"5.64", b"1.1"), Impossible, "per atom|overlap"),
    "an element without data": (CIF.replace(b"Na+", b"Bk"), Impossible, "no free-atom density for Bk|formula"),
    "no such element": (changed("Na1 Na+", "Qq1 Qq"), InputRefused, "unknown element|sites make"),
    "no atoms": (CIF.split(b"loop_\n_atom")[0], Unreadable, "lists no atoms"),
    "no b": (changed("_cell_length_b 5.64\n", ""), Unreadable, "gives no crystal"),
    "an unknown coordinate": (changed("0.5(2)", "?"), Unreadable, "could not convert|gives no crystal"),
    "cut in the atoms": (CIF[:-20], InputRefused, "CIF"),
    "two crystals": (CIF + CIF.replace(b"NaCl", b"other"), Unreadable, "holds 2 crystals, expected one"),
    "a singular cell": (changed("gamma 90", "gamma 0"), InputRefused, "CIF"),
    "an atom beyond the moon": (
        POSCAR.replace(b"0.5000000000000000", b"035000000000000000", 1), Impossible, "fractional coordinate of 3.5e",
    ),
    "poscar with an atom too few": (POSCAR.replace(b"\n4 4\n", b"\n4 5\n"), Unreadable, "header"),
    "a chgcar cut before its grid": (POSCAR + b" \n", Unreadable, "truncated CHGCAR"),
    "too many bytes": (CIF + b"#" * MOST_BYTES, TooLarge, "expected at most"),
    "prose": (b"data on NaCl will follow\n", UnknownFormat, "expected CHGCAR"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused(name):
    content, error, reason = REFUSED[name]
    with pytest.raises(error, match=reason) as caught:
        read_density(content)
    assert "\n" not in str(caught.value)


def test_hydrogen_may_be_near():
    check_structure(Structure(Lattice.cubic(5), ["H", "H"], [[0, 0, 0], [0.148, 0, 0]]))
    with pytest.raises(Impossible, match="overlap"):
        check_structure(Structure(Lattice.cubic(5), ["H", "H"], [[0, 0, 0], [0.08, 0, 0]]))


def test_nitrogen_molecules_and_overlap_across_a_face():
    check_structure(Structure(Lattice.cubic(5), ["N", "N"], [[0, 0, 0], [0.22, 0, 0]]))
    with pytest.raises(Impossible, match="overlap"):
        check_structure(Structure(Lattice.cubic(5), ["N", "N"], [[0.05, 0, 0], [0.95, 0, 0]]))


def test_an_atom_alone_in_a_hall():
    with pytest.raises(Impossible, match=r"8e\+03 A\^3 per atom"):
        check_structure(Structure(Lattice.cubic(20), ["Ar"], [[0, 0, 0]]))


def test_too_many_atoms():
    sites = np.random.default_rng(0).random((MOST_ATOMS + 1, 3))
    with pytest.raises(TooLarge, match=f"{MOST_ATOMS + 1} atoms"):
        check_structure(Structure(Lattice.cubic(40), ["Ar"] * len(sites), sites))


@settings(max_examples=150, deadline=None)
@given(seed=st.integers(0, 10**9))
def test_damaged_cifs_are_refused_or_read_but_never_crash(seed):
    rng = np.random.default_rng(seed)
    damaged = bytearray(CIF)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(damaged)))
        if rng.random() < 0.5:
            damaged[at] = int(rng.integers(32, 127))
        else:
            del damaged[at : at + int(rng.integers(1, 30))]
    with contextlib.suppress(InputRefused):
        read_structure(bytes(damaged), "cif")
