"""The bonding region of a crystal's superposed free atoms, whatever density is given: one number for every code.

A density that is promolecular already is taken as it is; of any other, only the structure is used.
"""

import numpy as np

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.promolecule import promolecular_density
from rhoray.features.block import Block, Latent
from rhoray.features.density import SETTLED, density_block, invariants
from rhoray.store.codec import to_compact


def superposed(density: ChargeDensity, latent: Latent) -> np.ndarray:
    """Return the settled invariants of the promolecular density."""
    if density.kind != "promolecular":
        density = to_compact(promolecular_density(structure_of(density)))
    named = dict(zip(density_block().labels, invariants(density, latent), strict=True))
    return np.array([named[name] for name in SETTLED])


SUPERPOSED_BLOCK = Block("superposed", SETTLED, superposed)
