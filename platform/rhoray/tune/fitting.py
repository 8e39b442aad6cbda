"""Fit boosted trees: LightGBM in this process, XGBoost on Ray actors through xgboost_ray."""

from typing import Any

import lightgbm
import numpy as np
import xgboost
import xgboost_ray
from jaxtyping import Float

from rhoray.models.boosted_trees import BoostedTrees, TreeKind

Matrix = Float[np.ndarray, "n f"]
Values = Float[np.ndarray, " n"]

XGBOOST_RESTARTS = 2


def fit_trees(
    kind: TreeKind, features: Matrix, values: Values, params: dict[str, Any], seed: int, *, actors: int = 1
) -> BoostedTrees:
    """Return trees fitted to all rows.

    Args:
        kind: lightgbm or xgboost.
        features: (n, f).
        values: what to learn, (n,), on the scale the trees shall predict.
        params: of the library, and `rounds`.
        seed: of bagging and feature sampling.
        actors: over which xgboost_ray spreads the rows, one CPU each.
    """
    settings = {**params, "seed": seed}
    rounds = int(settings.pop("rounds"))
    if kind == "lightgbm":
        data = lightgbm.Dataset(features, values, free_raw_data=False)
        return BoostedTrees(kind, lightgbm.train(settings, data, rounds))
    return BoostedTrees(kind, _fit_xgboost(features, values, settings, rounds, actors))


def _fit_xgboost(
    features: Matrix, values: Values, settings: dict[str, Any], rounds: int, actors: int
) -> xgboost.Booster:
    """Train on Ray actors; one that dies is replaced, and training goes on from its last checkpoint."""
    return xgboost_ray.train(
        settings,
        xgboost_ray.RayDMatrix(features.astype(np.float32), values.astype(np.float32)),
        num_boost_round=rounds,
        verbose_eval=False,
        ray_params=xgboost_ray.RayParams(num_actors=actors, cpus_per_actor=1, max_actor_restarts=XGBOOST_RESTARTS),
    )
