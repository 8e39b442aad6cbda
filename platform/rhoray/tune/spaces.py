"""Search spaces, one per kind of regressor: name, range and scale of every hyper-parameter."""

from dataclasses import dataclass
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution, IntDistribution

LIGHTGBM_FIXED: dict[str, Any] = {
    "objective": "l2", "verbosity": -1, "num_threads": 1, "deterministic": True,
    "force_row_wise": True, "bagging_freq": 1,
}  # fmt: skip
XGBOOST_FIXED: dict[str, Any] = {
    "objective": "reg:squarederror", "tree_method": "hist", "nthread": 1, "verbosity": 0,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Space:
    """What is drawn from, a point to begin with, and what every trial has in common.

    Attributes:
        search: name to range; `rounds` is the number of trees.
        start: a setting that is good on small tables.
        fixed: parameters that are not searched.
    """

    search: dict[str, BaseDistribution]
    start: dict[str, Any]
    fixed: dict[str, Any]


def _log_int(low: int, high: int) -> BaseDistribution:
    return IntDistribution(low, high, log=True)


def _log(low: float, high: float) -> BaseDistribution:
    return FloatDistribution(low, high, log=True)


def lightgbm_space() -> Space:
    """LightGBM: https://lightgbm.readthedocs.io/en/stable/Parameters.html."""
    return Space(
        {
            "rounds": _log_int(200, 1200),
            "learning_rate": _log(0.01, 0.1),
            "num_leaves": _log_int(7, 63),
            "min_child_samples": IntDistribution(3, 16),
            "feature_fraction": FloatDistribution(0.1, 0.8),
            "bagging_fraction": FloatDistribution(0.5, 1.0),
            "lambda_l2": _log(0.01, 10.0),
        },
        {
            "rounds": 500, "learning_rate": 0.03, "num_leaves": 15, "min_child_samples": 5,
            "feature_fraction": 0.3, "bagging_fraction": 0.8, "lambda_l2": 1.0,
        },
        LIGHTGBM_FIXED,
    )  # fmt: skip


def xgboost_space() -> Space:
    """XGBoost: https://xgboost.readthedocs.io/en/stable/parameter.html."""
    return Space(
        {
            "rounds": _log_int(150, 800),
            "learning_rate": _log(0.02, 0.15),
            "max_depth": IntDistribution(3, 8),
            "min_child_weight": IntDistribution(1, 8),
            "colsample_bytree": FloatDistribution(0.1, 0.8),
            "subsample": FloatDistribution(0.5, 1.0),
            "reg_lambda": _log(0.1, 10.0),
        },
        {
            "rounds": 300, "learning_rate": 0.05, "max_depth": 5, "min_child_weight": 3,
            "colsample_bytree": 0.3, "subsample": 0.8, "reg_lambda": 1.0,
        },
        XGBOOST_FIXED,
    )  # fmt: skip


def attention_space() -> Space:
    """The attention network of `models.attention_cnn`."""
    return Space(
        {
            "epochs": IntDistribution(30, 90),
            "learning_rate": _log(3e-4, 4e-3),
            "weight_decay": _log(1e-4, 0.1),
            "width": IntDistribution(16, 32, step=8),
            "dropout": FloatDistribution(0.0, 0.5),
        },
        {"epochs": 60, "learning_rate": 1.5e-3, "weight_decay": 1e-2, "width": 24, "dropout": 0.2},
        {},
    )


SPACES = {"lightgbm": lightgbm_space, "xgboost": xgboost_space, "attention_cnn": attention_space}
