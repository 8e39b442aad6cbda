"""Several models of one target: their weighted mean."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from rhoray.core.errors import BundleError
from rhoray.features.sites import Sites
from rhoray.models.boosted_trees import FILE_NAMES, load_trees
from rhoray.models.kernel import FILE as KERNEL_FILE
from rhoray.models.kernel import load_kernel
from rhoray.models.model import Model, SiteModel, predicted_by
from rhoray.models.network import FILE as NETWORK_FILE
from rhoray.models.network import load_networks
from rhoray.models.site_network import FILE as SITES_FILE
from rhoray.models.site_network import TRUNK_FILE, load_site_networks

ENSEMBLE = "ensemble"
# By the file that tells a member's kind; each gets all files of the member.
LOADERS: dict[str, Callable[[Mapping[str, bytes]], Model | SiteModel]] = {
    FILE_NAMES["lightgbm"]: lambda own: load_trees("lightgbm", own[FILE_NAMES["lightgbm"]]),
    FILE_NAMES["xgboost"]: lambda own: load_trees("xgboost", own[FILE_NAMES["xgboost"]]),
    NETWORK_FILE: lambda own: load_networks(own[NETWORK_FILE]),
    KERNEL_FILE: lambda own: load_kernel(own[KERNEL_FILE]),
    SITES_FILE: load_site_networks,
}


@dataclass(frozen=True, slots=True, eq=False)
class Ensemble:
    """Members by name, each with a share of the prediction; the shares add up to 1."""

    members: dict[str, Model | SiteModel]
    shares: dict[str, float]

    @property
    def needs_sites(self) -> bool:
        """Whether a member looks at sites."""
        return any(isinstance(member, SiteModel) for member in self.members.values())

    def predict(
        self, features: Float[np.ndarray, "n f"], crystals: Sequence[Sites] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Return the weighted mean.

        Args:
            features: (n, f).
            crystals: (n,); only if `needs_sites`.
        """
        return sum(
            (self.shares[name] * predicted_by(member, features, crystals) for name, member in self.members.items()),
            np.zeros(len(features)),
        )

    def to_files(self) -> dict[str, bytes]:
        """Return each member's files, named after the member."""
        return {
            f"{name}.{file}": content
            for name, member in self.members.items()
            for file, content in member.to_files().items()
        }


def load_ensemble(files: Mapping[str, bytes], shares: Mapping[str, float]) -> Ensemble:
    """Return the ensemble of a folder.

    Args:
        files: the folder's content by file name.
        shares: member name to its share.

    Raises:
        BundleError: a member's file is missing, or not what it should be.
    """
    members: dict[str, Model | SiteModel] = {}
    for name in shares:
        own = {file.removeprefix(f"{name}."): c for file, c in files.items() if file.startswith(f"{name}.")}
        kinds = own.keys() & LOADERS.keys()
        if len(kinds) != 1 or own.keys() - kinds - {TRUNK_FILE}:
            raise BundleError(f"ensemble member {name!r}: found {sorted(own)}, expected one of {sorted(LOADERS)}")
        members[name] = LOADERS[kinds.pop()](own)
    return Ensemble(members, {name: float(share) for name, share in shares.items()})
