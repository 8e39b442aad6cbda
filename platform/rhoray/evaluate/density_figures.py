"""Pictures of one density: a slice of its cell and the surface of one value, in real space, with atoms and cell.

Elements have Jmol's colours, which most programs of the field use (pymatgen's table of http://jmol.sourceforge.net/jscolors).
"""

import itertools

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes
from matplotlib.colors import LightSource, PowerNorm
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection
from pymatgen.core import Element
from pymatgen.vis.structure_vtk import EL_COLORS

from rhoray.density.charge_density import ChargeDensity, Grid
from rhoray.density.isosurface import isosurface
from rhoray.density.resample import fourier_resample

AXES = "abc"
SLICE_POINTS = 96
SURFACE_POINTS = 32
FEWEST_POINTS = 8
# Atoms so near to a slice, in Angstrom, are drawn on it.
NEAR = 0.3
# In units of the lattice: an atom so near to a face is drawn on the opposite one, too.
ON_FACE = 1e-3
# Points^2 of an atom with a radius of 1 Angstrom.
ATOM_AREA = 90.0
# A peak at a nucleus would leave the bonds dark on a linear scale.
GAMMA = 0.35
Corners = Float[np.ndarray, "triangles 3 3"]


def half_charge_level(values: Grid) -> float:
    """Return the value, e/A3, above which half of the charge lies."""
    falling = np.sort(values.ravel())[::-1]
    inside = np.cumsum(falling, dtype=np.float64)
    return float(falling[np.searchsorted(inside, inside[-1] / 2)])


def densest_height(density: ChargeDensity, axis: str) -> float:
    """Return where along a lattice vector the densest point lies, 0 to 1."""
    along = AXES.index(axis)
    densest = np.unravel_index(density.values.argmax(), density.values.shape)
    return float(densest[along]) / density.values.shape[along]


def surface_of(density: ChargeDensity, level: float, points: int = SURFACE_POINTS) -> Corners:
    """Return the triangles of an isosurface in Angstrom, from the density on `points` along the longest axis."""
    return isosurface(_resampled(density, points), level) @ density.lattice


def element_colour(symbol: str) -> str:
    """Return Jmol's colour of an element, as #rrggbb."""
    return "#{:02x}{:02x}{:02x}".format(*EL_COLORS["Jmol"][symbol])


def atomic_radius(symbol: str) -> float:
    """Return the radius by which an atom is drawn, Angstrom: Slater's (1964), 1.5 where there is none."""
    return float(Element(symbol).atomic_radius or 1.5)


def atoms_of_cell(density: ChargeDensity) -> tuple[list[str], Float[np.ndarray, "shown 3"]]:
    """Return elements and fractional coordinates, 0 to 1, of all atoms in the cell and on its faces, edges, corners."""
    shown = [
        (symbol, place)
        for symbol, at in zip(density.species, density.frac_coords % 1.0, strict=True)
        for place in itertools.product(*(_with_image(float(x)) for x in at))
    ]
    return [symbol for symbol, _ in shown], np.array([place for _, place in shown])


def _with_image(x: float) -> tuple[float, ...]:
    return (0.0, 1.0) if min(x, 1 - x) < ON_FACE else (x,)


def density_figure(
    density: ChargeDensity, *, axis: str = "c", at: float | None = None, level: float | None = None
) -> Figure:
    """Return a figure of a slice and an isosurface.

    Args:
        density: what to draw.
        axis: `a`, `b` or `c`: the slice holds the other two lattice vectors.
        at: its height along `axis`, 0 to 1; None: through the densest point.
        level: of the surface, e/A3; None: half of the charge lies inside.
    """
    figure = Figure(figsize=(10, 4.6), layout="constrained")
    draw_slice(figure.add_subplot(1, 2, 1), density, axis=axis, at=at)
    draw_surface(figure, density, level)
    return figure


def draw_slice(axes: Axes, density: ChargeDensity, *, axis: str = "c", at: float | None = None) -> None:
    """Draw the density, e/A3, on the plane of two lattice vectors, undistorted, with the atoms near it."""
    height = densest_height(density, axis) if at is None else at
    along = AXES.index(axis)
    first, second = (i for i in range(3) if i != along)
    values = np.moveaxis(_resampled(density, SLICE_POINTS), along, 2)
    plane = np.pad(values[:, :, round(height * values.shape[2]) % values.shape[2]], (0, 1), mode="wrap")
    u, v = (density.lattice[i] for i in (first, second))
    right = u / np.linalg.norm(u)
    up = v - (v @ right) * right
    up /= np.linalg.norm(up)
    s, t = np.meshgrid(*(np.linspace(0, 1, n) for n in plane.shape), indexing="ij")
    x, y = s * (u @ right) + t * (v @ right), t * (v @ up)
    scale = PowerNorm(GAMMA, vmin=0, vmax=float(plane.max()))
    image = axes.pcolormesh(x, y, plane.clip(min=0), shading="gouraud", norm=scale, rasterized=True)
    normal = np.cross(u, v)
    spacing = abs(density.lattice[along] @ normal) / float(np.linalg.norm(normal))
    drawn = set()
    for symbol, place in zip(*atoms_of_cell(density), strict=True):
        where = place[first] * u + place[second] * v
        on_plane = (symbol, round(float(where @ right), 3), round(float(where @ up), 3))
        if abs((place[along] - height + 0.5) % 1.0 - 0.5) * spacing < NEAR and on_plane not in drawn:
            drawn.add(on_plane)
            area, colour = 2 * ATOM_AREA * atomic_radius(symbol), element_colour(symbol)
            axes.scatter(*on_plane[1:], s=area, c=colour, edgecolors="k", linewidths=0.8, zorder=3)
            axes.annotate(symbol, on_plane[1:], color="k", ha="center", va="center", fontsize=8, zorder=4)
    corners = np.array([0 * u, u, u + v, v, 0 * u])
    axes.plot(corners @ right, corners @ up, color="0.4", lw=0.8)
    axes.use_sticky_edges = False  # atoms at the corners want room
    axes.margins(0.07)
    axes.set(aspect="equal", xlabel="Angstrom", title=f"slice at {height:.2f} {axis}")
    axes.figure.colorbar(image, ax=axes, label="e/A$^3$", shrink=0.8)


def draw_surface(figure: Figure, density: ChargeDensity, level: float | None = None) -> None:
    """Add the isosurface, the atoms and the cell's edges to the right half of a figure."""
    value = half_charge_level(density.values) if level is None else level
    triangles = surface_of(density, value)
    axes = figure.add_subplot(1, 2, 2, projection="3d", proj_type="ortho")
    faces = Poly3DCollection(triangles, facecolors="tab:blue", alpha=0.35, shade=True, lightsource=LightSource(315, 45))
    axes.add_collection3d(faces)
    symbols, places = atoms_of_cell(density)
    for symbol in dict.fromkeys(symbols):
        sites = places[[s == symbol for s in symbols]] @ density.lattice
        area, colour = ATOM_AREA * atomic_radius(symbol), element_colour(symbol)
        axes.scatter(*sites.T, s=area, c=colour, edgecolors="k", linewidths=0.5, depthshade=False, label=symbol)
    axes.legend(loc="upper right", fontsize=8, frameon=False)
    for edge in cell_edges(density.lattice):
        axes.plot(*edge.T, color="0.4", lw=0.8)
    corners = np.concatenate(cell_edges(density.lattice))
    low, high = corners.min(axis=0), corners.max(axis=0)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]), title=f"{value:.3g} e/A$^3$")
    axes.set_box_aspect(high - low)
    axes.set_axis_off()


def cell_edges(lattice: Float[np.ndarray, "3 3"]) -> list[Float[np.ndarray, "2 3"]]:
    """Return the twelve edges of a cell, each by its ends, Angstrom."""
    corners = np.array([[i, j, k] for i in (0, 1) for j in (0, 1) for k in (0, 1)])
    pairs = [(p, q) for p in corners for q in corners if (q - p).sum() == 1 and (q >= p).all()]
    return [np.array([p, q]) @ lattice for p, q in pairs]


def _resampled(density: ChargeDensity, points: int) -> Grid:
    """Return the density on a grid of even spacing, `points` along the longest axis."""
    lengths = np.linalg.norm(density.lattice, axis=1)
    a, b, c = (max(FEWEST_POINTS, round(float(n))) for n in points * lengths / lengths.max())
    return fourier_resample(density.values.astype(np.float64), (a, b, c), taper=True)
