"""From the bytes of a file to a charge density: decompress, sniff, parse, check."""

from rhoray.core.errors import UnknownFormat
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.chgcar_json import read_chgcar_json
from rhoray.density.cube import read_cube
from rhoray.density.decompress import DEFAULT_LIMIT, decompress
from rhoray.density.sniff import sniff
from rhoray.density.vasp import read_chgcar


def read_density(content: bytes, *, limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the charge density that a file holds, whatever its name.

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
    raise UnknownFormat(f"this is a {form.upper()}, a structure without a density; expected CHGCAR, CHG or cube")
