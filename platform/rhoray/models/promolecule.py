"""Promolecular densities of many crystals at once, on a CPU or a GPU; the same numbers as `density.promolecule`.

Crystals whose grids have the same shape form a batch. Axes: b crystals, a atoms, e elements of a crystal, then grid.
"""

from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float
from pymatgen.core import Structure

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.free_atoms import FreeAtoms, free_atoms
from rhoray.density.promolecule import Shape, native_shape, neutral_scale, symbols_of
from rhoray.density.structure_checks import check_structure

# Grid points times elements that a batch may hold; 16 bytes each, and some six arrays of them.
MOST_POINTS_AT_ONCE = 2**22


def promolecular_batch(
    structures: Sequence[Structure], *, device: str = "cpu", dtype: torch.dtype = torch.float64
) -> list[ChargeDensity]:
    """Return the promolecular density of each crystal on its native grid.

    Args:
        structures: crystals.
        device: such as `cpu` or `cuda`.
        dtype: float64 gives NumPy's numbers to 1e-12, float32 to 1e-5 of the electrons.

    Raises:
        Impossible: an element without data, or a crystal that `check_structure` refuses.
        TooLarge: too many atoms or grid points in a cell.
    """
    by_shape: dict[Shape, list[int]] = defaultdict(list)
    for index, structure in enumerate(structures):
        check_structure(structure)
        by_shape[native_shape(structure.lattice.matrix)].append(index)
    found: dict[int, ChargeDensity] = {}
    for shape, indices in by_shape.items():
        largest = max(len(set(symbols_of(structures[i]))) for i in indices)
        size = max(1, MOST_POINTS_AT_ONCE // (largest * int(np.prod(shape))))
        for start in range(0, len(indices), size):
            some = indices[start : start + size]
            found |= zip(some, _of_one_shape([structures[i] for i in some], shape, device, dtype), strict=True)
    return [found[i] for i in range(len(structures))]


def _of_one_shape(
    structures: Sequence[Structure], shape: Shape, device: str, dtype: torch.dtype
) -> list[ChargeDensity]:
    table = free_atoms()
    species = [symbols_of(s) for s in structures]
    rows = [np.array(table.rows(symbols)) for symbols in species]
    kinds = [np.unique(r) for r in rows]  # the elements of each crystal, as rows of the table
    num_atoms, num_kinds = max(map(len, rows)), max(map(len, kinds))
    sites = np.zeros((len(structures), num_atoms, 3))
    is_kind = np.zeros((len(structures), num_atoms, num_kinds))  # nothing for an atom that only fills the batch
    kind_rows = np.zeros((len(structures), num_kinds), int)
    for i, (structure, row, kind) in enumerate(zip(structures, rows, kinds, strict=True)):
        sites[i, : len(row)] = structure.frac_coords
        is_kind[i, : len(row), : len(kind)] = row[:, None] == kind
        kind_rows[i, : len(kind)] = kind
    lattices = np.array([s.lattice.matrix for s in structures])
    scale = np.array([neutral_scale(table, r) for r in rows])

    def put(array: np.ndarray) -> torch.Tensor:
        return torch.as_tensor(array, dtype=dtype, device=device)

    factors = _structure_factors(put(sites), put(is_kind), shape)
    spectrum = factors * _form_factors(table, _waves(put(lattices), shape), kind_rows, put(scale))
    volumes = np.abs(np.linalg.det(lattices))
    values = torch.fft.irfftn(spectrum.sum(dim=1), s=shape, norm="forward").cpu().numpy().astype(np.float64)
    return [
        ChargeDensity(values[i] / volumes[i], lattices[i], species[i], sites[i, : len(rows[i])], "promolecular")
        for i in range(len(structures))
    ]


def _indices(shape: Shape, like: torch.Tensor) -> list[torch.Tensor]:
    na, nb, nc = shape
    full = [torch.fft.fftfreq(n, 1 / n, dtype=like.dtype, device=like.device) for n in (na, nb)]
    return [*full, torch.arange(nc // 2 + 1, dtype=like.dtype, device=like.device)]


def _waves(lattices: Float[torch.Tensor, "b 3 3"], shape: Shape) -> Float[torch.Tensor, "b 1 na nb half"]:
    """Return |G| in 1/Angstrom."""
    reciprocal = 2 * torch.pi * torch.linalg.inv(lattices).mT
    index = torch.stack(torch.meshgrid(*_indices(shape, lattices), indexing="ij"), dim=-1)
    return torch.linalg.vector_norm(torch.einsum("xyzi,bij->bxyzj", index, reciprocal), dim=-1)[:, None]


def _structure_factors(
    sites: Float[torch.Tensor, "b a 3"], is_kind: Float[torch.Tensor, "b a e"], shape: Shape
) -> torch.Tensor:
    """Return each element's sum of exp(-i G r), (b, e, na, nb, half), without Nyquist coefficients."""
    phases = []
    for axis, (index, n) in enumerate(zip(_indices(shape, sites), shape, strict=True)):
        phase = torch.exp(-2j * torch.pi * sites[:, :, axis, None] * index)
        if n % 2 == 0:
            phase[:, :, n // 2] = 0
        phases.append(phase)
    a, b, c = phases
    batch, atoms, kinds = is_kind.shape
    along_a = (is_kind[..., None] * a[:, :, None]).reshape(batch, atoms, -1)
    planes = (b[:, :, :, None] * c[:, :, None, :]).reshape(batch, atoms, -1)
    return torch.bmm(along_a.mT, planes).reshape(batch, kinds, a.shape[2], b.shape[2], c.shape[2])


def _form_factors(
    table: FreeAtoms, waves: Float[torch.Tensor, "b 1 na nb half"], rows: np.ndarray, scale: Float[torch.Tensor, " b"]
) -> torch.Tensor:
    """Return electrons, smooth part plus Gaussian, (b, e, na, nb, half)."""
    row = torch.as_tensor(rows, device=waves.device)
    pieces, charge, width = (
        torch.as_tensor(x, dtype=waves.dtype, device=waves.device) for x in (table.pieces, table.charge, table.width)
    )
    position = waves / table.step
    interval = position.long().clamp(max=table.pieces.shape[1] - 1)
    x = (position - interval) * table.step
    # One gather per power, flat over elements and intervals.
    where = interval + row[:, :, None, None, None] * table.pieces.shape[1]
    cubic, square, slope, value = (pieces[:, :, power].reshape(-1)[where] for power in range(4))
    smooth = ((cubic * x + square) * x + slope) * x + value
    smooth = torch.where(position < table.pieces.shape[1], smooth, 0.0)
    per_kind = (slice(None), slice(None), None, None, None)
    gaussian = charge[row][per_kind] * torch.exp(-0.25 * (waves * width[row][per_kind]) ** 2)
    return scale[:, None, None, None, None] * smooth + gaussian
