"""How wrong a regressor probably is on a crystal: a small model of its out-of-fold residuals.

It gives the width of conformal intervals their shape; `core.intervals` gives them their size. On disk it is LightGBM's
text behind one line of JSON.
Source: H. Papadopoulos et al., J. Artif. Intell. Res. 40, 815 (2011), doi:10.1613/jair.3198 (normalised scores).
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import lightgbm
import numpy as np
from jaxtyping import Float, Int

from rhoray.core.errors import BundleError
from rhoray.models.boosted_trees import lightgbm_text

Values = Float[np.ndarray, " n"]
Matrix = Float[np.ndarray, "n f"]

PARAMS = {
    "objective": "l2", "verbosity": -1, "num_threads": 1, "deterministic": True, "force_row_wise": True, "seed": 0,
    "learning_rate": 0.05, "num_leaves": 7, "min_child_samples": 30, "feature_fraction": 0.3, "bagging_freq": 1,
    "bagging_fraction": 0.8, "lambda_l2": 5.0, "max_bin": 63,
}  # fmt: skip
ROUNDS = 120
# Residuals are compared as logarithms; the smallest are luck, not skill.
SMALLEST_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class Difficulty:
    """A fitted model of residuals.

    Attributes:
        labels: feature columns it looks at, beside the prediction itself.
        booster: of the logarithm of the absolute residual.
    """

    labels: tuple[str, ...]
    booster: lightgbm.Booster

    def spread(self, features: Matrix, predictions: Values) -> Values:
        """Return the expected size of the residual, in the scale of residuals it was fitted to.

        Args:
            features: columns `labels`.
            predictions: of the regressor, on the scale of the residuals.
        """
        return np.exp(np.asarray(self.booster.predict(_with(features, predictions), num_threads=1), np.float64))

    def to_bytes(self) -> bytes:
        """Return its file."""
        return json.dumps({"labels": self.labels}).encode() + b"\n" + lightgbm_text(self.booster)


def load_difficulty(content: bytes) -> Difficulty:
    """Invert `Difficulty.to_bytes`.

    Raises:
        BundleError: the bytes are something else.
    """
    head, _, model = content.partition(b"\n")
    try:
        return Difficulty(tuple(json.loads(head)["labels"]), lightgbm.Booster(model_str=model.decode()))
    except (lightgbm.basic.LightGBMError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"not a model of residuals: {error}") from error


def fit_difficulty(labels: Sequence[str], features: Matrix, predictions: Values, residuals: Values) -> Difficulty:
    """Return a model of absolute residuals.

    Args:
        labels: of the feature columns.
        features: what the regressor saw.
        predictions: out of fold, on the scale of the residuals.
        residuals: label minus prediction; logarithms' difference for targets that are learned as logarithms.
    """
    size = np.abs(residuals)
    floor = SMALLEST_SHARE * max(float(np.median(size)), np.finfo(float).tiny)
    data = lightgbm.Dataset(_with(features, predictions), np.log(np.maximum(size, floor)))
    return Difficulty(tuple(labels), lightgbm.train(PARAMS, data, ROUNDS))


def spread_out_of_fold(
    folds: Sequence[tuple[Int[np.ndarray, " _train"], Int[np.ndarray, " _test"]]],
    features: Matrix, predictions: Values, residuals: Values,
) -> Values:  # fmt: skip
    """Return for each row the spread that a model gives which has not seen its residual.

    Args:
        folds: rows to fit to and rows to judge.
        features: what the regressor saw.
        predictions: out of fold.
        residuals: label minus prediction.
    """
    found = np.full(len(predictions), np.nan)
    labels = [str(i) for i in range(features.shape[1])]
    for train, test in folds:
        model = fit_difficulty(labels, features[train], predictions[train], residuals[train])
        found[test] = model.spread(features[test], predictions[test])
    return found


def _with(features: Matrix, predictions: Values) -> Float[np.ndarray, "n more"]:
    return np.column_stack([features, predictions])
