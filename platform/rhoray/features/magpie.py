"""MAGPIE: 132 statistics of elemental properties over a composition.

Source: L. Ward et al., npj Comput. Mater. 2, 16028 (2016), doi:10.1038/npjcompumats.2016.28, as matminer has it.
"""

import functools
import re

import numpy as np
from matminer.featurizers.composition import ElementProperty
from pymatgen.core import Composition

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import reduced_formula
from rhoray.features.block import Block, Latent


@functools.cache
def _featurizer() -> ElementProperty:
    return ElementProperty.from_preset("magpie")


@functools.lru_cache(maxsize=8192)
def magpie_of(formula: str) -> np.ndarray:
    """Return the 132 statistics of a reduced formula, read-only."""
    values = np.array(_featurizer().featurize(Composition(formula)), dtype=np.float64)
    values.setflags(write=False)
    return values


def magpie(density: ChargeDensity, latent: Latent) -> np.ndarray:  # noqa: ARG001 - a block's signature
    """Return the 132 statistics; they depend on the reduced formula only."""
    return magpie_of(reduced_formula(density))


@functools.cache
def magpie_block() -> Block:
    """Return the block; its first call reads matminer's tables."""
    labels = [re.sub(r"\W+", "_", x.removeprefix("MagpieData ")) for x in _featurizer().feature_labels()]
    return Block("magpie", tuple(labels), magpie)
