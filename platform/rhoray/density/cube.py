"""Gaussian cube files: a density in electrons per cubic Bohr on a grid, C order.

Source: https://paulbourke.net/dataformats/cube/ ; lengths are Bohr unless a voxel count is negative (then Angstrom).
"""

import io

import numpy as np
from pymatgen.core import Element
from scipy import constants

from rhoray.core.errors import Impossible, TooLarge, Unreadable
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.numbers import COPY_AGAIN, MOST_ATOMS, by, check_grid, read_numbers, with_plain_exponents

BOHR = constants.value("Bohr radius") / constants.angstrom
HEADER_LINES = 6


def read_cube(content: bytes) -> ChargeDensity:
    """Return the density of a cube file of a periodic cell; its origin only shifts the atoms.

    Args:
        content: the plain bytes of the file.

    Raises:
        Unreadable: truncated, garbled, or an orbital instead of a density.
        Impossible: no crystal has such a density.
        TooLarge: more atoms than RhoRay takes.
    """
    stream = io.BytesIO(content)
    lines = [stream.readline().decode("latin-1") for _ in range(HEADER_LINES)]
    try:
        num_atoms, origin = _count_and_vector(lines[2])
        counts, steps = zip(*(_count_and_vector(line) for line in lines[3:]), strict=True)
        _check_counts(num_atoms, lines[2].split()[4:], content)
        atoms = [stream.readline().split() for _ in range(num_atoms)]
        species = tuple(Element.from_Z(int(atom[0])).symbol for atom in atoms)
        cartesian = np.array([[float(x) for x in atom[2:5]] for atom in atoms]).reshape(-1, 3)
    except (ValueError, IndexError) as error:
        reason = "a line is missing or too short" if isinstance(error, IndexError) else str(error)[:120]
        raise Unreadable(f"the cube header can't be read: {reason}; mend it, or copy the file again") from error
    unit = 1.0 if min(counts) < 0 else BOHR
    shape = (abs(counts[0]), abs(counts[1]), abs(counts[2]))
    check_grid(shape)
    with np.errstate(all="ignore"):
        lattice = np.array(steps) * np.array(shape, dtype=float)[:, None] * unit
        if not 0 < abs(np.linalg.det(lattice)) < np.inf:
            raise Impossible("the lattice is singular or not finite; mend the three voxel vectors in lines 4 to 6")
        frac = (cartesian - origin) * unit @ np.linalg.inv(lattice)
    return ChargeDensity(_values(content, stream.tell(), shape) / BOHR**3, lattice, species, frac)


def _count_and_vector(line: str) -> tuple[int, np.ndarray]:
    fields = line.upper().replace("D", "E").split()
    return int(fields[0]), np.array([float(x) for x in fields[1:4]])


def _check_counts(num_atoms: int, values_per_point: list[str], content: bytes) -> None:
    """Refuse orbitals and absurd numbers of atoms before any of them is read."""
    if num_atoms < 0:
        raise Unreadable("this cube file holds orbitals, expected a charge density; write the total density instead")
    if values_per_point not in ([], ["1"]):
        raise Unreadable(f"{values_per_point[0]} values a point, expected 1; write the total density alone")
    if num_atoms > content.count(b"\n"):
        raise Unreadable(f"truncated: {num_atoms} atoms can't fit in {len(content)} bytes; {COPY_AGAIN}")
    if num_atoms > MOST_ATOMS:
        raise TooLarge(f"{num_atoms} atoms, expected at most {MOST_ATOMS}; give a smaller cell")


def _values(content: bytes, start: int, shape: tuple[int, int, int]) -> np.ndarray:
    content = with_plain_exponents(content, start)
    flat, end = read_numbers(content, start, shape)
    if content[end : end + 200].split():
        raise Impossible(
            f"grid and header disagree: more values follow than the {by(shape)} that the header announces; mend the "
            "counts in lines 4 to 6"
        )
    return flat.reshape(shape)
