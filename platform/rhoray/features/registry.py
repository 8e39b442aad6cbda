"""The blocks by name."""

from collections.abc import Callable, Sequence

from rhoray.core.errors import RhoRayError
from rhoray.features.block import Block
from rhoray.features.bonds import bonds_block
from rhoray.features.cell import CELL_BLOCK
from rhoray.features.composition import ELEMENTS_BLOCK
from rhoray.features.density import density_block
from rhoray.features.latent import LATENT_BLOCK
from rhoray.features.magpie import magpie_block
from rhoray.features.superposed import SUPERPOSED_BLOCK
from rhoray.features.volume import VOLUME, VOLUME_BLOCK

# Blocks whose labels are found out by computing them once are made when they are asked for.
_MAKERS: dict[str, Callable[[], Block]] = {
    "latent": lambda: LATENT_BLOCK,
    "magpie": magpie_block,
    "density": density_block,
    "cell": lambda: CELL_BLOCK,
    "elements": lambda: ELEMENTS_BLOCK,
    "bonds": bonds_block,
    "superposed": lambda: SUPERPOSED_BLOCK,
}
BLOCK_NAMES = tuple(_MAKERS)


def get_blocks(names: Sequence[str]) -> list[Block]:
    """Return blocks in the order of their names.

    Raises:
        RhoRayError: a name is unknown or stands twice.
    """
    if len(set(names)) != len(names) or not names:
        raise RhoRayError(f"feature blocks {list(names)}, expected each once of {', '.join(BLOCK_NAMES)}")
    return [_get_block(name) for name in names]


def _get_block(name: str) -> Block:
    if name == VOLUME:  # for networks; none of BLOCK_NAMES, for trees can do nothing with it
        return VOLUME_BLOCK
    if name not in _MAKERS:
        raise RhoRayError(f"no feature block {name!r}, expected {', '.join(BLOCK_NAMES)}")
    return _MAKERS[name]()
