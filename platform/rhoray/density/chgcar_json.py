"""A CHGCAR as Materials Project's open data hold it: pymatgen's `Chgcar.as_dict()` as JSON, below a key `data`.

The grid is rho x V_cell in C order, as pymatgen holds it; `diff` (magnetisation) and `data_aug` (PAW augmentation
occupancies) are left unread. Parsed with orjson and checked by us: nothing that the document names is imported.
Source: https://docs.materialsproject.org/downloading-data/aws-opendata
"""

from typing import Any

import numpy as np
import orjson
from pymatgen.core import Element

from rhoray.core.errors import Impossible, UnknownFormat, Unreadable
from rhoray.density.charge_density import ChargeDensity, Grid

_NOT_A_CHGCAR = (KeyError, TypeError, ValueError, IndexError, AttributeError)
_EXPECTED = (
    "expected CHGCAR, CHG or cube, or pymatgen's Chgcar as JSON with `poscar` and `data.total`, as below Materials "
    "Project's chgcars/"
)


def read_chgcar_json_and_spin(content: bytes) -> tuple[ChargeDensity, int]:
    """Return the total valence density of a CHGCAR document, and how many grids of the magnetisation it holds beside.

    Args:
        content: the plain bytes: the `Chgcar` dict itself, or a document that holds it as `data`.

    Returns:
        The density, e/A3, and 0 (spins not told apart), 1 (collinear) or 3 (non-collinear).

    Raises:
        UnknownFormat: another kind of document.
        Unreadable: truncated, or garbled.
        Impossible: no crystal has such a density.
    """
    try:
        document = orjson.loads(content)
    except orjson.JSONDecodeError as error:
        raise Unreadable(f"truncated or damaged JSON ({error}); copy the file again") from error
    chgcar = _chgcar_of(document)
    try:
        lattice, species, sites = _crystal(chgcar["poscar"])
        data = chgcar["data"]
        total, grids = data["total"], 3 if "diff_x" in data else int("diff" in data)
        values = _grid(total["data"] if isinstance(total, dict) else total)
    except _NOT_A_CHGCAR as error:
        raise Unreadable(f"no CHGCAR in this JSON: {type(error).__name__} {error}; {_EXPECTED}") from error
    volume = abs(np.linalg.det(lattice))
    if not volume > 0:
        raise Impossible(f"the lattice is singular: volume {volume:.3g} A^3")
    return ChargeDensity(values=values / volume, lattice=lattice, species=species, frac_coords=sites), grids


def _chgcar_of(document: object) -> dict[str, Any]:
    for candidate in (document, document.get("data") if isinstance(document, dict) else None):
        if isinstance(candidate, dict) and "poscar" in candidate:
            return candidate
    found = sorted(document)[:5] if isinstance(document, dict) else f"a {type(document).__name__}"
    raise UnknownFormat(f"no CHGCAR in this JSON, found {found}; {_EXPECTED}")


def _crystal(poscar: dict[str, Any]) -> tuple[np.ndarray, tuple[str, ...], np.ndarray]:
    """Return lattice, species and fractional coordinates.

    By hand, not by `Structure.from_dict`: that would import whatever class a site's properties name.
    """
    structure = poscar["structure"]
    lattice = np.array(structure["lattice"]["matrix"], dtype=float).reshape(3, 3)
    sites = structure["sites"]
    species = tuple(_element(site["species"]) for site in sites)
    return lattice, species, np.array([site["abc"] for site in sites], dtype=float).reshape(-1, 3)


def _element(species: list[dict[str, Any]]) -> str:
    ((symbol, share),) = [(str(s["element"]), float(s["occu"])) for s in species]
    if share != 1:
        raise Impossible(f"{symbol} fills its site by {share:g}, expected 1: a density belongs to an ordered crystal")
    return Element(symbol).symbol


def _grid(nested: list) -> Grid:
    values = np.array(nested, dtype=float)
    if values.ndim != 3 or 0 in values.shape:
        raise Impossible(f"a grid of shape {values.shape}, expected three axes")
    return values
