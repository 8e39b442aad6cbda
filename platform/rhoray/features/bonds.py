"""Bonds: numbers of a crystal's atoms and their neighbours, the same for every cell that describes the crystal.

Everything is an average (or a spread) over sites of sums over neighbours within CUTOFF, so that a supercell, another
origin or another choice of axes changes nothing. No electron of the density is looked at: codes and pseudopotentials
agree on these numbers to the last digit. Lengths are Angstrom.
"""

import functools
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.primitive import Cell, primitive_cell
from rhoray.features.block import Block, Latent
from rhoray.features.elements import ElementTable, element_table
from rhoray.features.equilibration import equilibrated
from rhoray.features.neighbours import Neighbours, find_neighbours
from rhoray.features.springs import spring_moduli

CUTOFF = 6.5
# Softness of a bond: valence falls to 1/e over this length. Brown and Altermatt, Acta Cryst. B 41, 244 (1985).
SOFTNESS = 0.37
CENTRES = (0.85, 1.0, 1.15, 1.3, 1.5, 1.75, 2.05)
WIDTHS = (0.10, 0.10, 0.10, 0.10, 0.14, 0.18, 0.22)
ORDERS = (2, 3, 4, 6)
STRAIN = 0.02


@dataclass(frozen=True, slots=True, eq=False)
class Bonds:
    """A crystal's neighbours with their weights.

    Attributes:
        cell: the primitive cell.
        near: pairs within the cutoff.
        x: distance over the sum of covalent radii, (pairs,).
        valence: exp((R - d) / SOFTNESS), (pairs,).
        weight: valence over its sum at the site, (pairs,).
        table: the elements' numbers.
        rows: row of the table for each atom.
    """

    cell: Cell
    near: Neighbours
    x: np.ndarray
    valence: np.ndarray
    weight: np.ndarray
    table: ElementTable
    rows: np.ndarray

    def per_site(self, values: np.ndarray) -> np.ndarray:
        """Sum what belongs to pairs over each site's neighbours."""
        return np.bincount(self.near.first, values, minlength=len(self.rows))

    def log_valence(self) -> np.ndarray:
        """Return the logarithm of each site's sum of valences."""
        return np.log(np.maximum(self.per_site(self.valence), 1e-6))

    def coordination(self) -> np.ndarray:
        """Return how many neighbours of equal weight each site would have."""
        return 1 / np.maximum(self.per_site(self.weight**2), 1e-3)


# Of a crystal, sites and bonds look at the same ones.
@functools.lru_cache(maxsize=8)
def bonds_of(cell: Cell) -> Bonds:
    """Return the bonds of a primitive cell."""
    table = element_table()
    rows = table.rows(cell.species)
    near = find_neighbours(cell, CUTOFF)
    radius = table.radius[rows]
    total = radius[near.first] + radius[near.second]
    valence = np.exp((total - near.distance) / SOFTNESS)
    sums = np.bincount(near.first, valence, minlength=len(rows))
    weight = valence / np.maximum(sums, 1e-300)[near.first]
    return Bonds(cell, near, near.distance / total, valence, weight, table, rows)


def _spread(name: str, values: np.ndarray, *, ends: bool = True) -> Iterator[tuple[str, float]]:
    yield f"{name}_mean", float(values.mean())
    yield f"{name}_std", float(values.std())
    if ends:
        yield f"{name}_min", float(values.min())
        yield f"{name}_max", float(values.max())


def _named(density: ChargeDensity) -> Iterator[tuple[str, float]]:
    b = bonds_of(primitive_cell(density.lattice, density.species, density.frac_coords))
    yield from _coordination(b)
    yield from _neighbour_elements(b)
    yield from _placement(b)
    yield from _angles(b)
    yield from _two_body(b)
    yield from _embedding(b)
    yield from _charges(b)
    yield from _springs(b)


def _coordination(b: Bonds) -> Iterator[tuple[str, float]]:
    yield from _spread("valence", b.log_valence())
    yield from _spread("coordination", b.coordination())
    yield from _spread("distance", b.per_site(b.weight * b.near.distance))
    yield from _spread("relative_distance", b.per_site(b.weight * b.x))
    nearest = np.full(len(b.rows), 10.0)
    np.minimum.at(nearest, b.near.first, b.x)
    yield from _spread("nearest", nearest)
    for limit in (1.15, 1.3, 1.6):
        yield from _spread(f"within_{limit}", b.per_site(1 / (1 + np.exp((b.x - limit) / 0.04))))
    volume = b.cell.volume
    yield "packing", float((4 / 3 * np.pi * b.table.radius[b.rows] ** 3).sum() / volume)
    yield "volume_over_elements", float(volume / b.table.volume[b.rows].sum())


def _neighbour_elements(b: Bonds) -> Iterator[tuple[str, float]]:
    """How neighbours differ from their site, for each property of the elements."""
    for name, column in b.table.properties.items():
        p = column[b.rows]
        here, there = p[b.near.first], p[b.near.second]
        difference = b.per_site(b.weight * np.abs(here - there))
        yield from _spread(f"step_{name}", difference, ends=False)
        yield f"step2_{name}", float(b.per_site(b.weight * (here - there) ** 2).mean())
        around = b.per_site(b.weight * there)
        yield f"around_{name}_std", float(around.std())
        yield f"around_{name}_product", float((p * around).mean() - p.mean() ** 2)


def _placement(b: Bonds) -> Iterator[tuple[str, float]]:
    """Which elements sit on which kind of site."""
    kinds = {
        "valence": b.log_valence(),
        "coordination": b.coordination(),
        "distance": b.per_site(b.weight * b.near.distance),
        "multiplicity": b.cell.multiplicity / len(b.rows),
    }
    for name in ("X", "radius", "mendeleev", "melting", "d", "p", "volume"):
        p = b.table.properties[name][b.rows]
        for kind, values in kinds.items():
            yield f"place_{name}_{kind}", float(((p - p.mean()) * (values - values.mean())).mean())


def _angles(b: Bonds) -> Iterator[tuple[str, float]]:
    for order, values in zip(ORDERS, order_parameters(b), strict=True):
        yield from _spread(f"order_{order}", values)


@functools.lru_cache(maxsize=8)
def order_parameters(b: Bonds) -> Float[np.ndarray, "orders sites"]:
    """Return Steinhardt's order parameters with soft weights, each of ORDERS; Phys. Rev. B 28, 784 (1983)."""
    found = np.zeros((len(ORDERS), len(b.rows)))
    strong = b.weight > 1e-4
    first, weight, unit = b.near.first[strong], b.weight[strong], b.near.unit[strong]
    for site in range(len(b.rows)):
        own = first == site
        w, u = weight[own], unit[own]
        cosine = np.clip(u @ u.T, -1, 1)
        pair = np.outer(w, w)
        for k, order in enumerate(ORDERS):
            found[k, site] = (pair * _legendre(order, cosine)).sum()
    return np.sqrt(np.maximum(found, 0))


def _legendre(order: int, x: np.ndarray) -> np.ndarray:
    if order == 2:
        return (3 * x**2 - 1) / 2
    if order == 3:
        return (5 * x**3 - 3 * x) / 2
    s = x**2
    if order == 4:
        return (35 * s**2 - 30 * s + 3) / 8
    return (231 * s**3 - 315 * s**2 + 105 * s - 5) / 16


def _two_body(b: Bonds) -> Iterator[tuple[str, float]]:
    """Radial distributions, each pair weighted by a product of two element channels."""
    shells = [np.exp(-0.5 * ((b.x - c) / w) ** 2) for c, w in zip(CENTRES, WIDTHS, strict=True)]
    channels = b.table.channels[b.rows]
    count = channels.shape[1]
    for i in range(count):
        for j in range(i, count):
            pair = channels[b.near.first, i] * channels[b.near.second, j]
            for c, shell in zip(CENTRES, shells, strict=True):
                yield f"pair_{i}_{j}_{c}", float((pair * shell).sum() / len(b.rows))


def _embedding(b: Bonds) -> Iterator[tuple[str, float]]:
    """Density of the neighbours' free atoms at each nucleus and half way to it, and how it grows under pressure."""
    d, first, second = b.near.distance, b.near.first, b.near.second

    def at_nuclei(scale: float) -> np.ndarray:
        return b.per_site(b.table.density_of(b.rows[second], d * scale))

    def own(scale: float) -> np.ndarray:
        return b.per_site(b.table.density_of(b.rows[first], d * scale))

    def between(scale: float) -> np.ndarray:
        half = 0.5 * d * scale
        return b.table.density_of(b.rows[first], half) + b.table.density_of(b.rows[second], half)

    middle = between(1.0)
    yield from _spread("middle", np.log10(1e-3 + b.per_site(b.weight * middle)))
    for name, function in (("embedding", at_nuclei), ("embedded", own)):
        low, mid, high = (np.log(1e-5 + function(s)) for s in (1 - STRAIN, 1.0, 1 + STRAIN))
        yield from _spread(name, mid)
        yield from _spread(f"{name}_slope", (high - low) / (2 * STRAIN), ends=False)
        yield f"{name}_curve", float(((high + low - 2 * mid) / STRAIN**2).mean())
    for power in (1.0, 1.5):
        values = b.per_site(middle**power * (b.x < 1.6))
        yield f"middle_sum_{power}", float(np.log(1e-4 + values.mean()))


def _charges(b: Bonds) -> Iterator[tuple[str, float]]:
    charge, energy = equilibrated(b.cell, b.table.chi[b.rows], b.table.radius[b.rows])
    yield "charge_energy", energy / len(b.rows)
    yield from _spread("charge", charge)
    yield "charge_absolute", float(np.abs(charge).mean())
    yield "charge_bonds", float(b.per_site(b.weight * charge[b.near.first] * charge[b.near.second]).mean())


def _springs(b: Bonds) -> Iterator[tuple[str, float]]:
    half = 0.5 * b.near.distance
    middle = b.table.density_of(b.rows[b.near.first], half) + b.table.density_of(b.rows[b.near.second], half)
    for name, stiffness in (("valence", b.valence), ("middle", middle**1.5)):
        for label, value in spring_moduli(b.near, stiffness, len(b.rows), b.cell.volume).items():
            yield f"spring_{name}_{label}", value


def bonds(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return the numbers of a crystal's bonds."""
    return np.array([value for _, value in _named(density)])


@functools.cache
def bonds_block() -> Block:
    """Return the block; its labels come from computing it once."""
    probe = ChargeDensity(np.ones((4, 4, 4)), 2.9 * np.eye(3), ("Fe", "Al"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    return Block("bonds", tuple(name for name, _ in _named(probe)), bonds)
