"""Files as a user has them."""

import gzip

import pytest

from rhoray.density.vasp import write_chgcar

ROCK_SALT = """data_NaCl
_cell_length_a 5.64
_cell_length_b 5.64
_cell_length_c 5.64
_cell_angle_alpha 90
_cell_angle_beta 90
_cell_angle_gamma 90
_symmetry_space_group_name_H-M 'F m -3 m'
_symmetry_Int_Tables_number 225
loop_
_symmetry_equiv_pos_as_xyz
'x, y, z'
'x, y+1/2, z+1/2'
'x+1/2, y, z+1/2'
'x+1/2, y+1/2, z'
loop_
_atom_site_label
_atom_site_type_symbol
_atom_site_fract_x
_atom_site_fract_y
_atom_site_fract_z
Na Na 0 0 0
Cl Cl 0.5 0.5 0.5
"""


@pytest.fixture(scope="session")
def folder(sample_densities, tmp_path_factory):
    """A CHGCAR, compressed, its first half, a CIF, and a picture."""
    where = tmp_path_factory.mktemp("files")
    text = write_chgcar(next(iter(sample_densities.values()))).encode()
    (where / "CHGCAR.gz").write_bytes(gzip.compress(text))
    (where / "half_CHGCAR").write_bytes(text[: len(text) // 2])
    (where / "crystal.cif").write_text(ROCK_SALT)
    (where / "photo.jpg").write_bytes(b"\xff\xd8\xff\xe0" + bytes(200))
    return where
