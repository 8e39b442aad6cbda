"""The elements' own numbers: MAGPIE's tables, and the radial densities of free atoms.

Sources: the tables of doi:10.1038/npjcompumats.2016.28, as matminer has them; free atoms as `density.free_atoms` says.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from matminer.utils.data import MagpieData

from rhoray.core.errors import Impossible
from rhoray.density.free_atoms import free_atoms
from rhoray.features.composition import LAST, SYMBOLS

PROPERTIES = {
    "X": "Electronegativity", "radius": "CovalentRadius", "number": "Number", "mendeleev": "MendeleevNumber",
    "melting": "MeltingT", "row": "Row", "column": "Column", "s": "NsValence", "p": "NpValence", "d": "NdValence",
    "f": "NfValence", "unfilled": "NUnfilled", "d_unfilled": "NdUnfilled", "volume": "GSvolume_pa", "gap": "GSbandgap",
    "magmom": "GSmagmom",
}  # fmt: skip
# What a pair of atoms is told apart by.
CHANNELS = ("X", "radius", "d", "p", "mendeleev", "row")
# Mulliken's electronegativity in eV is about 2.5 times Pauling's.
EV_PER_PAULING = 2.5
PICOMETRE = 0.01
RADII = np.arange(0.3, 7.0, 0.05)
# Orbitals are cut off at 4.2 A and bend down before.
TAIL_FROM = 3.6
TAIL_POINTS = 10
FAINTEST = 1e-12


@dataclass(frozen=True, slots=True, eq=False)
class ElementTable:
    """One row per element, hydrogen first.

    Attributes:
        symbols: symbol to row.
        properties: by name, standardised over the elements, (elements,).
        channels: 1 and the properties of CHANNELS, (elements, channels).
        radius: covalent, Angstrom, (elements,).
        volume: of the elemental solid, cubic Angstrom per atom, (elements,).
        chi: electronegativity, eV, (elements,).
        log_density: logarithm of the free atom's valence density in e/A3 at RADII, (elements, radii).
    """

    symbols: dict[str, int]
    properties: dict[str, Float[np.ndarray, " elements"]]
    channels: Float[np.ndarray, "elements channels"]
    radius: Float[np.ndarray, " elements"]
    volume: Float[np.ndarray, " elements"]
    chi: Float[np.ndarray, " elements"]
    log_density: Float[np.ndarray, "elements radii"]

    def rows(self, species: Sequence[str]) -> np.ndarray:
        """Return each atom's row.

        Raises:
            Impossible: a species beyond the table.
        """
        if unknown := sorted({s for s in species if s not in self.symbols}):
            raise Impossible(f"no data for {', '.join(unknown)}; the tables end at {SYMBOLS[-1]}")
        return np.array([self.symbols[s] for s in species])

    def density_of(self, rows: np.ndarray, distance: np.ndarray) -> np.ndarray:
        """Return the free atoms' valence density in e/A3 at distances (A) from their nuclei."""
        position = np.clip((distance - RADII[0]) / (RADII[1] - RADII[0]), 0, len(RADII) - 1.001)
        low = position.astype(int)
        part = position - low
        return np.exp(self.log_density[rows, low] * (1 - part) + self.log_density[rows, low + 1] * part)


@functools.cache
def element_table() -> ElementTable:
    """Return the table, made once per process; what MAGPIE does not know of an element is the others' median."""
    data = MagpieData().all_elemental_props
    properties = {}
    for name, source in PROPERTIES.items():
        column = np.array([float(data[source].get(s, np.nan)) for s in SYMBOLS])
        column[~np.isfinite(column)] = np.nanmedian(column)
        properties[name] = column
    scaled = {n: (v - v.mean()) / v.std() for n, v in properties.items()}
    channels = np.stack([np.ones(LAST), *(scaled[n] for n in CHANNELS)], axis=1)
    radius = properties["radius"] * PICOMETRE
    return ElementTable(
        {s: i for i, s in enumerate(SYMBOLS)} | {"D": 0, "T": 0},
        scaled,
        channels,
        radius,
        properties["volume"],
        EV_PER_PAULING * properties["X"],
        _radial(SYMBOLS),
    )


def _radial(symbols: Sequence[str]) -> np.ndarray:
    """Log of the valence density at RADII of each free atom: the inverse transform of its form factor."""
    table = free_atoms()
    q = table.step * np.arange(table.pieces.shape[1])
    kernel = q[:, None] ** 2 * np.sinc(np.outer(q, RADII) / np.pi) * table.step / (2 * np.pi**2)
    out = np.zeros((len(symbols), len(RADII)))
    for i, symbol in enumerate(symbols):
        (row,) = table.rows([symbol])
        factor = table.pieces[row, :, 3] + table.charge[row] * np.exp(-0.25 * (q * table.width[row]) ** 2)
        rho = factor @ kernel
        log = np.log(np.maximum(rho, FAINTEST))
        last = np.flatnonzero(TAIL_FROM > RADII)[-1]
        slope = (log[last] - log[last - TAIL_POINTS]) / (RADII[last] - RADII[last - TAIL_POINTS])
        out[i] = np.where(TAIL_FROM > RADII, log, log[last] + slope * (RADII - RADII[last]))
    return out
