"""Sites: the atoms of a crystal, what surrounds each, and its neighbours, as a network on sites sees them.

Atoms of one element with the same angles and neighbours, whose neighbours have the same ones, are one kind of site:
they stand once, with their share of the crystal, and so do a site's neighbours of one kind at one distance, with their
number. A sum over neighbours and a mean over sites stay what they are, and a network has a fifth of the work.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.primitive import primitive_cell
from rhoray.features.bonds import Bonds, bonds_of, order_parameters

REACH = 6.0
# Angstrom; distances that differ by less are one.
SAME = 0.01
# Order parameters, from 0 to 1.
SAME_ORDER = 0.01


@dataclass(frozen=True, slots=True, eq=False)
class Sites:
    """A crystal's kinds of sites and their neighbours within REACH.

    Attributes:
        rows: each kind's row in the table of elements, (kinds,).
        share: of the crystal's atoms, (kinds,); they add up to 1.
        surroundings: sum of valences (its logarithm), coordination, relative and absolute distance of neighbours, order
            parameters, (kinds, numbers).
        first: kind of the site, ascending, (pairs,).
        second: kind of its neighbour, (pairs,).
        distance: Angstrom, (pairs,).
        relative: distance over the sum of covalent radii, (pairs,).
        count: how many such neighbours a site has, (pairs,).
    """

    rows: Int[np.ndarray, " kinds"]
    share: Float[np.ndarray, " kinds"]
    surroundings: Float[np.ndarray, "kinds numbers"]
    first: Int[np.ndarray, " pairs"]
    second: Int[np.ndarray, " pairs"]
    distance: Float[np.ndarray, " pairs"]
    relative: Float[np.ndarray, " pairs"]
    count: Float[np.ndarray, " pairs"]


def sites_of(density: ChargeDensity) -> Sites:
    """Return the sites of a crystal's primitive cell; the density itself is not looked at."""
    b = bonds_of(primitive_cell(density.lattice, density.species, density.frac_coords))
    near = b.near.distance < REACH
    first, second, distance = b.near.first[near], b.near.second[near], b.near.distance[near]
    steps = np.round(distance / SAME).astype(np.int64)
    looks = np.column_stack([b.rows, np.round(order_parameters(b).T / SAME_ORDER).astype(np.int64)])
    kind = _kinds(looks, first, second, steps)
    size = np.bincount(kind).astype(float)
    alike = np.stack([kind[first], kind[second], steps], axis=1)
    pairs, place, number = np.unique(alike, axis=0, return_inverse=True, return_counts=True)
    mean_distance = np.bincount(place.ravel(), distance, minlength=len(pairs)) / number
    rows = np.empty(len(size), np.int64)
    rows[kind] = b.rows
    radius = b.table.radius[rows]
    return Sites(
        rows,
        size / size.sum(),
        np.stack([np.bincount(kind, column) / size for column in _surroundings(b)], axis=1),
        pairs[:, 0],
        pairs[:, 1],
        mean_distance,
        mean_distance / (radius[pairs[:, 0]] + radius[pairs[:, 1]]),
        number / size[pairs[:, 0]],
    )


def _surroundings(b: Bonds) -> list[np.ndarray]:
    return [
        b.log_valence(), b.coordination(), b.per_site(b.weight * b.x), b.per_site(b.weight * b.near.distance),
        *order_parameters(b),
    ]  # fmt: skip


def _kinds(looks: np.ndarray, first: np.ndarray, second: np.ndarray, steps: np.ndarray) -> Int[np.ndarray, " sites"]:
    """Return each site's kind: sites that look alike split until all of a kind have the same kinds of neighbours.

    Source: Weisfeiler and Leman's refinement of colours, Nauchno-Technicheskaya Informatsia 2(9), 12 (1968).
    """
    kind = np.unique(looks, axis=0, return_inverse=True)[1].ravel()
    starts = np.searchsorted(first, np.arange(len(looks) + 1))
    while True:
        order = np.lexsort((steps, kind[second], first))
        around = np.stack([kind[second], steps], axis=1)[order]
        split: dict[tuple[int, bytes], int] = {}
        finer = np.array([
            split.setdefault((int(kind[i]), around[starts[i] : starts[i + 1]].tobytes()), len(split))
            for i in range(len(looks))
        ])  # fmt: skip
        if len(split) == kind.max() + 1:
            return finer
        kind = finer
