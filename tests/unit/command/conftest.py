"""Files as a user has them."""

import gzip

import pytest

from rhoray.density.vasp import write_chgcar
from tests.unit.builders import ROCK_SALT


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
