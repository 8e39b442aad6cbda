"""From the bytes of a file to a charge density: decompress, sniff, parse, check."""

import numpy as np
from scipy.spatial import KDTree

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.chgcar_json import read_chgcar_json_and_spin
from rhoray.density.cube import read_cube
from rhoray.density.decompress import DEFAULT_LIMIT, decompress
from rhoray.density.promolecule import promolecular_density
from rhoray.density.sniff import sniff
from rhoray.density.structure_files import read_structure
from rhoray.density.valence import check_electron_count
from rhoray.density.vasp import read_chgcar_and_spin

# Negative charge over the total: 3.3 % at most in 855 PAW densities (small lobes near the nuclei), half or more in a
# spin or difference density.
MOST_NEGATIVE = 0.1
# In units of the lattice vectors.
SAME_PLACE = 1e-4


def read_density(content: bytes, *, limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the charge density that a file holds, whatever its name; the promolecular one of a CIF or POSCAR.

    Args:
        content: the file as it lies in storage, plain or as gz, bz2 or xz.
        limit: most bytes after decompression.

    Raises:
        InputRefused: one of its children says why: UnknownFormat, Unreadable, Impossible, TooLarge.
    """
    return read_density_and_spin(content, limit=limit)[0]


def read_density_and_spin(content: bytes, *, limit: int = DEFAULT_LIMIT) -> tuple[ChargeDensity, int | None]:
    """Return what `read_density` does, and how many grids of the magnetisation follow the density.

    It takes and raises what `read_density` does.

    Returns:
        The density, e/A3, and 0 (spins not told apart), 1 (collinear) or 3 (non-collinear); None where the format has
        no place for a magnetisation, which is left unread.
    """
    plain = decompress(content, limit=limit)
    form = sniff(plain)
    grids: int | None = None
    if form == "chgcar":
        density, grids = read_chgcar_and_spin(plain)
    elif form == "chgcar-json":
        density, grids = read_chgcar_json_and_spin(plain)
    elif form == "cube":
        density = read_cube(plain)
    else:
        return promolecular_density(read_structure(plain, form)), None
    _check_plausible(density)
    return density, grids


def _check_plausible(density: ChargeDensity) -> None:
    """Refuse what is a density in form only; `ChargeDensity` itself takes it, for it may be made on purpose."""
    if np.linalg.det(density.lattice) < 0:
        raise Impossible(
            "the lattice is left-handed: a . (b x c) is negative, and VASP takes no such cell; name the vectors in "
            "another order, such as b, a, c, coordinates and grid likewise, or rerun with such a cell"
        )
    places = density.frac_coords % 1.0 % 1.0  # -1e-17 % 1.0 is 1.0
    nearest = KDTree(places, boxsize=1.0).query(places, k=2)[0][:, 1]  # infinite for a single atom
    together = int((nearest < SAME_PLACE).sum())
    if together:
        raise Impossible(f"{together} atoms lie at one place with another; mend the header's coordinates")
    negative = -density.values.sum(where=density.values < 0)
    share = float(negative / density.values.sum())
    if share > MOST_NEGATIVE:
        raise Impossible(
            f"negative charge of {100 * share:.0f} % of the total, expected less than {100 * MOST_NEGATIVE:.0f} %; "
            "give the total charge density, not a potential, a spin or a difference density"
        )
    check_electron_count(density)
