"""Element fractions: the plainest description of a composition, and what a linear model of energies needs."""

import numpy as np
from pymatgen.core import Element

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import composition_of
from rhoray.features.block import Block, Latent

LAST = 96
SYMBOLS = tuple(Element.from_Z(z).symbol for z in range(1, LAST + 1))
_INDEX = {symbol: i for i, symbol in enumerate(SYMBOLS)}


def fractions(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return the share of each element, hydrogen to curium, among the atoms; others count for nothing."""
    out = np.zeros(LAST)
    for element, share in composition_of(density).fractional_composition.items():
        symbol = "H" if element.symbol in {"D", "T"} else element.symbol
        if symbol in _INDEX:
            out[_INDEX[symbol]] += share
    return out


ELEMENTS_BLOCK = Block("elements", SYMBOLS, fractions)
