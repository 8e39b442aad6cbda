"""The surface on which a periodic density has one value, as triangles (marching tetrahedra).

Each voxel is cut into six tetrahedra around its long diagonal, and in each tetrahedron a plane separates the corners
above the level from those below: one triangle where one corner is alone, two where they are two and two. Unlike
marching cubes it has no ambiguous case (A. Doi and A. Koide, IEICE Trans. E74, 214 (1991)).
"""

import itertools

import numpy as np
from jaxtyping import Float

from rhoray.density.charge_density import Grid

Triangles = Float[np.ndarray, "triangles 3 3"]
# Corners of a unit cube along each way from (0, 0, 0) to (1, 1, 1): one tetrahedron for each order of the axes.
PATHS = [
    np.cumsum([np.zeros(3, int), *(np.eye(3, dtype=int)[axis] for axis in order)], axis=0)
    for order in itertools.permutations(range(3))
]


def isosurface(values: Grid, level: float) -> Triangles:
    """Return the triangles of the surface in one cell, in units of the lattice vectors, 0 to 1.

    Args:
        values: a periodic field, (na, nb, nc).
        level: in the unit of `values`.

    Returns:
        Corners, (triangles, 3, 3): triangle, corner, component along a, b, c, counter-clockwise
        as seen from below the level. No rows where the field never crosses it.

    Example:
        >>> isosurface(np.ones((4, 4, 4)), 2.0).shape
        (0, 3, 3)
    """
    closed = np.pad(values.astype(np.float64), (0, 1), mode="wrap")
    corners = np.stack(np.meshgrid(*(np.arange(n) for n in values.shape), indexing="ij"), axis=-1).reshape(-1, 3)
    found = [_of_tetrahedra(corners[:, None, :] + path, closed, level) for path in PATHS]
    return np.concatenate(found) / np.array(values.shape)


def _of_tetrahedra(points: np.ndarray, values: np.ndarray, level: float) -> np.ndarray:
    """Return the triangles in tetrahedra whose corners are grid points, (n, 4, 3)."""
    at = values[points[..., 0], points[..., 1], points[..., 2]]
    crossed = (at.max(axis=1) >= level) & (at.min(axis=1) < level)
    points, at = points[crossed], at[crossed]
    order = np.argsort(-at, axis=1)
    points, at = np.take_along_axis(points, order[..., None], axis=1), np.take_along_axis(at, order, axis=1)
    above = (at >= level).sum(axis=1)

    def between(chosen: np.ndarray, high: int, low: int) -> np.ndarray:
        share = ((at[chosen, high] - level) / (at[chosen, high] - at[chosen, low]))[:, None]
        return points[chosen, high] + share * (points[chosen, low] - points[chosen, high])

    one, two, three = (above == n for n in (1, 2, 3))
    quad = [between(two, 0, 2), between(two, 0, 3), between(two, 1, 3), between(two, 1, 2)]
    kinds = [
        (one, [between(one, 0, low) for low in (1, 2, 3)]),
        (three, [between(three, high, 3) for high in (0, 1, 2)]),
        (two, [quad[0], quad[1], quad[2]]),
        (two, [quad[0], quad[2], quad[3]]),
    ]
    down = points[:, 3] - points[:, 0]  # from the highest corner to the lowest
    return np.concatenate([_turned(np.stack(corners, axis=1), down[chosen]) for chosen, corners in kinds])


def _turned(triangles: np.ndarray, outward: np.ndarray) -> np.ndarray:
    """Return the triangles, their corners in the order that makes the normal point to the side of `outward`."""
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    wrong = (normals * outward).sum(axis=1) < 0
    return np.where(wrong[:, None, None], triangles[:, ::-1], triangles)
