"""`rhoray plot`: a slice and an isosurface of a density, as .png or .html."""

import argparse
import json
from pathlib import Path

import numpy as np
import plotly.graph_objects as go

from rhoray.command.terminal import say
from rhoray.core.errors import RhoRayError
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import reduced_formula
from rhoray.density.read import read_density
from rhoray.evaluate.density_figures import (
    atomic_radius,
    atoms_of_cell,
    cell_edges,
    densest_height,
    density_figure,
    element_colour,
    half_charge_level,
    surface_of,
)

DPI = 150
HTML_POINTS = 40
# Pixels of an atom with a radius of 1 Angstrom.
MARKER = 9
OUTLINE = {"color": "black", "width": 1}


def run(args: argparse.Namespace) -> int:
    """Draw the file's density."""
    density = read_density(args.file.read_bytes())
    level = half_charge_level(density.values) if args.level is None else args.level
    lowest, highest = float(density.values.min()), float(density.values.max())
    if not lowest < level < highest:
        raise RhoRayError(f"--level {level:g}: expected a value between {lowest:.3g} and {highest:.3g} e/A^3")
    at = densest_height(density, args.axis) if args.at is None else args.at
    summary = {"out": str(args.out), "formula": reduced_formula(density), "level": level}
    if args.out.suffix == ".png":
        density_figure(density, axis=args.axis, at=at, level=level).savefig(args.out, dpi=DPI)
        summary |= {"axis": args.axis, "at": at}
    else:
        write_page(density, level, args.out)
    say(json.dumps(summary) if args.json else f"{summary['formula']}: {args.out}, surface at {level:.3g} e/A^3")
    return 0


def write_page(density: ChargeDensity, level: float, out: Path) -> None:
    """Write a page with the isosurface to turn and zoom; its scripts are in it, no network is needed."""
    triangles = surface_of(density, level, HTML_POINTS)
    corners, index = np.unique(triangles.reshape(-1, 3).round(4), axis=0, return_inverse=True)
    x, y, z = corners.T
    i, j, k = index.reshape(-1, 3).T
    symbols, places = atoms_of_cell(density)
    edges = np.concatenate([np.vstack([edge, [np.nan] * 3]) for edge in cell_edges(density.lattice)])
    surface = go.Mesh3d(x=x, y=y, z=z, i=i, j=j, k=k, opacity=0.6, color="steelblue", name=f"{level:.3g} e/A3")
    atoms = [
        go.Scatter3d(
            **dict(zip("xyz", (places[[s == symbol for s in symbols]] @ density.lattice).T, strict=True)),
            mode="markers",
            name=symbol,
            marker={"size": MARKER * atomic_radius(symbol), "color": element_colour(symbol), "line": OUTLINE},
        )
        for symbol in dict.fromkeys(symbols)
    ]
    cell = go.Scatter3d(**dict(zip("xyz", edges.T, strict=True)), mode="lines", line={"color": "gray"}, name="cell")
    figure = go.Figure([surface, *atoms, cell])
    hidden = {name: {"visible": False} for name in ("xaxis", "yaxis", "zaxis")}
    title = f"{reduced_formula(density)}, charge density {level:.3g} e/A³"
    figure.update_layout(title=title, scene={"aspectmode": "data", **hidden}, margin={"l": 0, "r": 0, "b": 0})
    figure.write_html(out, include_plotlyjs=True, full_html=True)
