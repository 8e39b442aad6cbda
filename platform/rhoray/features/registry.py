"""The blocks by name."""

from collections.abc import Sequence

from rhoray.core.errors import RhoRayError
from rhoray.features.block import Block
from rhoray.features.density import density_block
from rhoray.features.latent import LATENT_BLOCK
from rhoray.features.magpie import magpie_block
from rhoray.features.volume import VOLUME, VOLUME_BLOCK

BLOCK_NAMES = ("latent", "magpie", "density")


def get_blocks(names: Sequence[str]) -> list[Block]:
    """Return blocks in the order of their names.

    Raises:
        RhoRayError: a name is unknown or stands twice.
    """
    if len(set(names)) != len(names) or not names:
        raise RhoRayError(f"feature blocks {list(names)}, expected each once of {', '.join(BLOCK_NAMES)}")
    return [_get_block(name) for name in names]


def _get_block(name: str) -> Block:
    if name == "latent":
        return LATENT_BLOCK
    if name == "magpie":
        return magpie_block()
    if name == VOLUME:  # for networks; none of BLOCK_NAMES, for trees can do nothing with it
        return VOLUME_BLOCK
    if name == "density":
        return density_block()
    raise RhoRayError(f"no feature block {name!r}, expected {', '.join(BLOCK_NAMES)}")
