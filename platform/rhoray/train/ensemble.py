"""Fit what the packaged bundle predicts with: networks on features and on sites, a kernel and trees, averaged. No Ray.

Networks learn all targets together; kernel and trees learn one at a time. Members that go wrong in different
places make an average that is better than the best of them. What they go wrong by the most are wrong labels: kernel
and trees do not learn from a few hundredths of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import lightgbm
import numpy as np
from jaxtyping import Float

from rhoray.core.targets import COHESIVE_ENERGY, FORMATION_ENERGY
from rhoray.features.sites import Sites
from rhoray.models.boosted_trees import BoostedTrees
from rhoray.models.ensemble import Ensemble
from rhoray.models.model import Model, SiteModel
from rhoray.train.kernel import KernelSettings, fit_kernel, surprise
from rhoray.train.network import NetworkSettings, fit_networks
from rhoray.train.site_network import SiteSettings, fit_site_networks

NETWORKS, KERNEL, TREES, SITES = "networks", "kernel", "trees", "sites"
MEMBERS = (NETWORKS, KERNEL, TREES, SITES)
# A wrong label costs them its square. Networks, whose loss is Huber's, are no better for not seeing it.
DOUBTING = (KERNEL, TREES)
# Element fractions, and nothing else, enter the kernel as a linear model.
LINEAR_BLOCK = "elements"
LINEAR_SCALE = 3.0
# What is nearly linear in element fractions.
LINEAR_TARGETS = frozenset({FORMATION_ENERGY.name, COHESIVE_ENERGY.name})
TREE_ROUNDS = 500
TREE_PARAMS: dict[str, Any] = {
    "objective": "l2", "learning_rate": 0.04, "num_leaves": 20, "min_data_in_leaf": 8, "bagging_fraction": 0.8,
    "bagging_freq": 1, "feature_fraction": 0.2, "lambda_l2": 1.0, "verbosity": -1, "num_threads": 1,
    "deterministic": True, "force_row_wise": True,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class EnsembleSettings:
    """How each kind of member is fitted.

    Attributes:
        networks: on features.
        kernel: a Gaussian process.
        sites: networks on sites.
        tree_rounds: of LightGBM.
        doubtful: share of a target's labels that DOUBTING members do not learn from.
    """

    networks: NetworkSettings = field(default_factory=NetworkSettings)
    kernel: KernelSettings = field(default_factory=KernelSettings)
    sites: SiteSettings = field(default_factory=SiteSettings)
    tree_rounds: int = TREE_ROUNDS
    doubtful: float = 0.03


@dataclass(frozen=True, slots=True, eq=False)
class Crystals:
    """What members look at.

    Attributes:
        features: (n, f).
        labels: of the features, `<block>.<name>`.
        sites: of each crystal, (n,); None where no member looks at them.
    """

    features: Float[np.ndarray, "n f"]
    labels: Sequence[str]
    sites: Sequence[Sites] | None = None

    def some(self, rows: np.ndarray) -> "Crystals":
        """Return the crystals of some rows."""
        sites = None if self.sites is None else [self.sites[row] for row in rows]
        return Crystals(self.features[rows], self.labels, sites)


def believed(
    crystals: Crystals, targets: Mapping[str, np.ndarray], settings: EnsembleSettings, seed: int
) -> dict[str, np.ndarray]:
    """Return the targets without the labels that are the farthest from what all the others say of them.

    Public tables hold labels that are wrong by a factor of two. A Gaussian process takes each for the truth, and all
    that lies near goes wrong with it. It also tells them: given all other rows, it expects another value.

    Args:
        crystals: to learn from, and nothing else: no crystal that a prediction will be judged by. Each once, for a row
            of the same crystal would vouch for its label.
        targets: name to values on the scale that shall be predicted, (n,); NaN where unknown.
        settings: see there.
        seed: of all that is drawn.

    Returns:
        The same values, NaN where doubtful.
    """
    if not settings.doubtful:
        return dict(targets)
    out = {}
    for name, values in targets.items():
        known = np.flatnonzero(np.isfinite(values))
        far = surprise(crystals.features[known], values[known], linear_scales(crystals.labels), settings.kernel, seed)
        out[name] = values.copy()
        out[name][known[far > np.quantile(far, 1 - settings.doubtful)]] = np.nan
    return out


def linear_scales(labels: Sequence[str]) -> Float[np.ndarray, " f"]:
    """Return each feature's scale in the linear part of the kernel: only element fractions have one."""
    return np.array([LINEAR_SCALE if label.startswith(f"{LINEAR_BLOCK}.") else 0.0 for label in labels])


def fit_member(
    kind: str, crystals: Crystals, targets: Mapping[str, np.ndarray], settings: EnsembleSettings, seed: int
) -> Mapping[str, Model | SiteModel]:
    """Return one kind of member for each target.

    Args:
        kind: one of MEMBERS.
        crystals: to learn from; with sites if the kind is SITES, which looks at nothing else.
        targets: name to values on the scale that shall be predicted, (n,); NaN where unknown.
        settings: see there.
        seed: of all that is drawn.
    """
    features = crystals.features
    if kind == SITES:
        assert crystals.sites is not None
        linear = [name for name in targets if name in LINEAR_TARGETS]
        return fit_site_networks(crystals.sites, targets, settings.sites, seed, linear)
    if kind == NETWORKS:
        return fit_networks(features, targets, settings.networks, seed)
    out: dict[str, Model | SiteModel] = {}
    slopes = linear_scales(crystals.labels)
    for name, values in targets.items():
        known = np.isfinite(values)
        if kind == KERNEL:
            out[name] = fit_kernel(features[known], values[known], slopes, settings.kernel, seed)
        else:
            data = lightgbm.Dataset(features[known], values[known])
            booster = lightgbm.train({**TREE_PARAMS, "seed": seed}, data, settings.tree_rounds)
            out[name] = BoostedTrees("lightgbm", booster)
    return out


def assemble(
    members: Mapping[str, Mapping[str, Model | SiteModel]], shares: Mapping[str, float], target: str
) -> Ensemble:
    """Return a target's ensemble of the members that have a share.

    Args:
        members: kind to target to model.
        shares: kind to share; they add up to 1.
        target: name.
    """
    return Ensemble({k: members[k][target] for k in shares}, dict(shares))
