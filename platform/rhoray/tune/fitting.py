"""Fit a regressor: LightGBM and the attention network in this process, XGBoost on Ray actors."""

from typing import Any, Literal

import lightgbm
import numpy as np
from jaxtyping import Float

from rhoray.models.attention_cnn import AttentionCNN
from rhoray.models.boosted_trees import BoostedTrees, TreeKind
from rhoray.train.attention_cnn import fit_attention_cnn
from rhoray.tune.distributed_xgboost import train_distributed

Matrix = Float[np.ndarray, "n f"]
Values = Float[np.ndarray, " n"]
ModelKind = Literal["lightgbm", "xgboost", "attention_cnn"]


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
        actors: over which XGBoost's rows are spread, one CPU each.
    """
    settings = {**params, "seed": seed}
    rounds = int(settings.pop("rounds"))
    if kind == "lightgbm":
        data = lightgbm.Dataset(features, values, free_raw_data=False)
        return BoostedTrees(kind, lightgbm.train(settings, data, rounds))
    return BoostedTrees(kind, train_distributed(features, values, settings, rounds, actors))


def fit_model(
    kind: ModelKind, features: Matrix, values: Values, params: dict[str, Any], seed: int, *, actors: int = 1
) -> BoostedTrees | AttentionCNN:
    """Return a model of any kind fitted to all rows; see `fit_trees` and `fit_attention_cnn`."""
    if kind == "attention_cnn":
        return fit_attention_cnn(features, values, params, seed)
    return fit_trees(kind, features, values, params, seed, actors=actors)
