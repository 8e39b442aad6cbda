"""Gaussian cube files: a density in electrons per cubic Bohr on a grid, C order.

Source: https://paulbourke.net/dataformats/cube/ ; lengths are Bohr unless a voxel count is negative (then Angstrom).
"""

import io

import numpy as np
from pymatgen.core import Element
from pymatgen.io.vasp.outputs import parse_n_doubles
from scipy import constants

from rhoray.core.errors import Impossible, Unreadable
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.vasp import LARGEST_GRID

BOHR = constants.value("Bohr radius") / constants.angstrom
HEADER_LINES = 6


def read_cube(content: bytes) -> ChargeDensity:
    """Return the density of a cube file of a periodic cell; its origin only shifts the atoms.

    Args:
        content: the plain bytes of the file.

    Raises:
        Unreadable: truncated, garbled, or an orbital instead of a density.
        Impossible: no crystal has such a density.
    """
    stream = io.BytesIO(content)
    lines = [stream.readline().decode("latin-1") for _ in range(HEADER_LINES)]
    try:
        num_atoms, origin = _count_and_vector(lines[2])
        counts, steps = zip(*(_count_and_vector(line) for line in lines[3:]), strict=True)
        if num_atoms < 0:
            raise Unreadable("this cube file holds orbitals, expected a charge density")
        if num_atoms > content.count(b"\n"):  # before any of them is read
            raise Unreadable(f"truncated: {num_atoms} atoms can't fit in {len(content)} bytes")
        atoms = [stream.readline().split() for _ in range(num_atoms)]
        species = tuple(Element.from_Z(int(atom[0])).symbol for atom in atoms)
        cartesian = np.array([[float(x) for x in atom[2:5]] for atom in atoms]).reshape(-1, 3)
    except (ValueError, IndexError) as error:
        raise Unreadable(f"the cube header can't be read: {error}") from error
    unit = 1.0 if min(counts) < 0 else BOHR
    shape = tuple(abs(n) for n in counts)
    lattice = np.array(steps) * np.array(shape)[:, None] * unit
    if abs(np.linalg.det(lattice)) == 0:
        raise Impossible("the lattice is singular: its volume is 0")
    frac = (cartesian - origin) * unit @ np.linalg.inv(lattice)
    return ChargeDensity(_values(stream, shape) / BOHR**3, lattice, species, frac)


def _count_and_vector(line: str) -> tuple[int, np.ndarray]:
    fields = line.split()
    return int(fields[0]), np.array([float(x) for x in fields[1:4]])


def _values(stream: io.BytesIO, shape: tuple[int, ...]) -> np.ndarray:
    size = int(np.prod(shape, dtype=object))
    left = len(stream.getbuffer()) - stream.tell()
    if not 0 < size <= LARGEST_GRID:
        raise Impossible(f"grid {shape}, expected between 1 and {LARGEST_GRID} points")
    if left < 2 * size - 1:
        raise Unreadable(f"truncated: {size} values can't fit in the {left} bytes after the header")
    flat = np.empty(size)
    parsed = parse_n_doubles(stream, flat, size)
    if parsed != size:
        raise Unreadable(f"grid {shape} needs {size} values, found {parsed} (truncated?)")
    if stream.read(200).split():
        raise Impossible(f"grid and header disagree: more values follow than {shape} announces")
    return flat.reshape(shape)
