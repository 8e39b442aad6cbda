"""How predictions are judged, in the target's unit and on a log scale; scikit-learn does the arithmetic."""

import numpy as np
from jaxtyping import Float
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error

Values = Float[np.ndarray, " n"]


def regression_metrics(expected: Values, found: Values) -> dict[str, float]:
    """Return r2, mae, rmse and n over the rows where both are finite.

    Positive targets also get r2_log and mae_log10.
    """
    known = np.isfinite(expected) & np.isfinite(found)
    y, p = expected[known], found[known]
    if len(y) < 2:
        return {"n": float(len(y))}
    out = {
        "r2": float(r2_score(y, p)),
        "mae": float(mean_absolute_error(y, p)),
        "rmse": float(root_mean_squared_error(y, p)),
        "n": float(len(y)),
    }
    if y.min() > 0 and p.min() > 0:
        out["r2_log"] = float(r2_score(np.log10(y), np.log10(p)))
        out["mae_log10"] = float(mean_absolute_error(np.log10(y), np.log10(p)))
    return out


def coverage(expected: Values, lower: Values, upper: Values) -> float:
    """Return the share of finite labels inside their interval."""
    known = np.isfinite(expected)
    return float(((expected >= lower) & (expected <= upper))[known].mean())
