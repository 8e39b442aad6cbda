"""Densities with known answers: Gaussians at atoms, built in reciprocal space, hence periodic and band-limited."""

import functools
import gzip
import itertools
import json

import numpy as np
from pymatgen.core import Element
from pymatgen.io.vasp import Chgcar, Poscar

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.cube import BOHR
from rhoray.density.vasp import write_chgcar
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

SKEWED_LATTICE = np.array([[3.1, 0.2, 0.1], [0.4, 3.9, -0.3], [-0.2, 0.5, 4.6]])
SKEWED_SITES = np.array([[0.02, 0.05, 0.11], [0.47, 0.56, 0.61], [0.21, 0.77, 0.34]])

# A CIF.
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


def gaussians(lattice, species, sites, electrons, widths, shape) -> ChargeDensity:
    """Return atoms of Gaussian density; `electrons` and `widths` (Angstrom) are per atom."""
    lattice, sites = np.asarray(lattice, float), np.asarray(sites, float)
    index = np.stack(np.meshgrid(*[np.fft.fftfreq(n, 1 / n) for n in shape], indexing="ij"), axis=-1)
    wave = np.linalg.norm(index @ (2 * np.pi * np.linalg.inv(lattice).T), axis=-1)
    spectrum = np.zeros(shape, complex)
    for site, charge, width in zip(sites, electrons, widths, strict=True):
        spectrum += charge * np.exp(-0.5 * (wave * width) ** 2 - 2j * np.pi * (index @ site))
    for axis, n in enumerate(shape):  # a Nyquist coefficient has no partner: leave it out
        if n % 2 == 0:
            spectrum[(slice(None),) * axis + (n // 2,)] = 0
    values = np.fft.ifftn(spectrum).real * spectrum.size / abs(np.linalg.det(lattice))
    return ChargeDensity(values, lattice, tuple(species), sites)


def salt(shape=(24, 24, 24), edge=5.6) -> ChargeDensity:
    """Return rock salt's cubic cell: 4 Na and 4 Cl, 32 electrons."""
    corners = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    sites = np.concatenate([corners, corners + np.array([0.5, 0, 0])]) % 1
    return gaussians(edge * np.eye(3), ["Na"] * 4 + ["Cl"] * 4, sites, [1] * 4 + [7] * 4, [0.7] * 4 + [0.6] * 4, shape)


def skewed(shape=(10, 12, 15)) -> ChargeDensity:
    """Return a triclinic Li-O-Fe crystal without any symmetry, 15 electrons."""
    return gaussians(SKEWED_LATTICE, ["Li", "O", "Fe"], SKEWED_SITES, [1, 6, 8], [0.7, 0.5, 0.6], shape)


def supercell(density: ChargeDensity, counts: tuple[int, int, int]) -> ChargeDensity:
    """Return the same crystal in a larger cell."""
    shifts = np.array(list(itertools.product(*(range(n) for n in counts))))
    sites = (density.frac_coords[:, None] + shifts[None]) / np.array(counts)
    species = tuple(s for s in density.species for _ in shifts)
    lattice = density.lattice * np.array(counts)[:, None]
    return ChargeDensity(np.tile(density.values, counts), lattice, species, sites.reshape(-1, 3))


def rolled(density: ChargeDensity, steps: tuple[int, int, int]) -> ChargeDensity:
    """Return the same crystal with its origin moved by whole grid points."""
    sites = density.frac_coords + np.array(steps) / np.array(density.values.shape)
    return ChargeDensity(np.roll(density.values, steps, (0, 1, 2)), density.lattice, density.species, sites)


def permuted(density: ChargeDensity, order: tuple[int, int, int]) -> ChargeDensity:
    """Return the same crystal with its axes named in another order."""
    return ChargeDensity(
        np.ascontiguousarray(density.values.transpose(order)),
        density.lattice[list(order)],
        density.species,
        density.frac_coords[:, list(order)],
    )


def with_lattice(density: ChargeDensity, lattice) -> ChargeDensity:
    """Return the same values over another lattice."""
    return ChargeDensity(density.values, lattice, density.species, density.frac_coords)


def rotation(seed: int = 0) -> np.ndarray:
    """Return a random proper rotation."""
    q, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(3, 3)))
    return q * np.sign(np.linalg.det(q))


@functools.cache
def sample_rows() -> tuple[dict, ...]:
    """Return the first shard of the packaged sample."""
    return tuple(read_shard(read_manifest(sample_uri()).shards[0]))


@functools.cache
def sample_densities(count: int) -> tuple[ChargeDensity, ...]:
    """Return real PBE densities of the packaged sample."""
    return tuple(row_density(row) for row in sample_rows()[:count])


def chgcar_text(density: ChargeDensity, *, spin: bool = False, augmentation: bool = False) -> str:
    """Return a CHGCAR as VASP writes it: occupancies after each grid, then moments and the magnetisation."""
    text = write_chgcar(density)
    occupancies = "".join(
        f"augmentation occupancies {i + 1:3d} {7:3d}\n"
        "  0.2753636E+00 -0.3331354E-01  0.1000000E+03  0.0000000E+00  0.0000000E+00\n  0.7E+01 -0.1E-02\n"
        for i in range(density.n_atoms)
    )
    if augmentation:
        text += occupancies
    if spin:
        grid = " ".join(str(n) for n in density.values.shape)
        magnetisation = "\n".join(" 0.77777777777E+02" for _ in range(density.values.size))
        moments = " ".join("0.1E+01" for _ in range(density.n_atoms))
        text += f" {moments}\n {grid}\n{magnetisation}\n{occupancies}"
    return text


@functools.cache
def salt_chgcar() -> bytes:
    """Return a small valid CHGCAR."""
    return chgcar_text(salt((8, 9, 10))).encode()


def cube_file(density: ChargeDensity, *, origin=(0.0, 0.0, 0.0), unit=BOHR, extra="", drop=0) -> bytes:
    """Return a cube file; `origin` is in Angstrom, `unit` that of its lengths; `drop` values are left out."""
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


def gzipped(content: bytes) -> bytes:
    """Return gzip of content, the same bytes every time."""
    return gzip.compress(content, mtime=0)


def chgcar_document(density: ChargeDensity) -> dict:
    """Return an object of Materials Project's chgcars/: pymatgen's own dict of a spin-polarised CHGCAR."""
    total = density.values * density.volume
    chgcar = Chgcar(Poscar(structure_of(density)), {"total": total, "diff": 0.1 * total})
    return {"data": json.loads(json.dumps(chgcar.as_dict(), default=_as_monty)), "task_id": "mp-1"}


def _as_monty(array: np.ndarray) -> dict:
    return {"@module": "numpy", "@class": "array", "dtype": "float64", "data": array.tolist()}
