"""From the bytes of a file to a charge density: decompress, sniff, parse, check."""

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.chgcar_json import read_chgcar_json
from rhoray.density.cube import read_cube
from rhoray.density.decompress import DEFAULT_LIMIT, decompress
from rhoray.density.promolecule import promolecular_density
from rhoray.density.sniff import sniff
from rhoray.density.structure_files import read_structure
from rhoray.density.vasp import read_chgcar


def read_density(content: bytes, *, limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the charge density that a file holds, whatever its name; the promolecular one of a CIF or POSCAR.

    Args:
        content: the file as it lies in storage, plain or as gz, bz2 or xz.
        limit: most bytes after decompression.

    Raises:
        InputRefused: one of its children says why: UnknownFormat, Unreadable, Impossible, TooLarge.
    """
    plain = decompress(content, limit=limit)
    form = sniff(plain)
    if form == "chgcar":
        return read_chgcar(plain)
    if form == "chgcar-json":
        return read_chgcar_json(plain)
    if form == "cube":
        return read_cube(plain)
    return promolecular_density(read_structure(plain, form))
