"""Boosted trees that are fitted: predict, and go to and from bytes without pickle. Fitting is rhoray.tune's work."""

from dataclasses import dataclass
from typing import Literal

import lightgbm
import numpy as np
import xgboost
from jaxtyping import Float

from rhoray.core.errors import BundleError

TreeKind = Literal["lightgbm", "xgboost"]
FILE_NAMES: dict[str, str] = {"lightgbm": "model.txt", "xgboost": "model.ubj"}


@dataclass(frozen=True, slots=True)
class BoostedTrees:
    """A fitted ensemble of trees.

    Attributes:
        kind: which library made it.
        booster: that library's own model.
    """

    kind: TreeKind
    booster: lightgbm.Booster | xgboost.Booster

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return one number per row."""
        if self.kind == "lightgbm":
            return np.asarray(self.booster.predict(features, num_threads=1), dtype=np.float64)
        self.booster.set_param({"nthread": 1})
        return self.booster.predict(xgboost.DMatrix(features)).astype(np.float64)

    def to_files(self) -> dict[str, bytes]:
        """Return one file."""
        return {FILE_NAMES[self.kind]: self.to_bytes()}

    def to_bytes(self) -> bytes:
        """Return LightGBM's text or XGBoost's UBJSON."""
        if self.kind == "lightgbm":
            return lightgbm_text(self.booster)
        return bytes(self.booster.save_raw("ubj"))


def lightgbm_text(booster: lightgbm.Booster) -> bytes:
    """Return the trees as LightGBM's text, without the importances and settings that follow them."""
    end = "end of trees\n"
    return (booster.model_to_string().partition(end)[0] + end).encode()


def load_trees(kind: str, content: bytes) -> BoostedTrees:
    """Return the trees that `to_bytes` wrote.

    Raises:
        BundleError: the kind is unknown or the bytes are not such a model.
    """
    try:
        if kind == "lightgbm":
            return BoostedTrees("lightgbm", lightgbm.Booster(model_str=content.decode()))
        if kind == "xgboost":
            return BoostedTrees("xgboost", xgboost.Booster(model_file=bytearray(content)))
    except (lightgbm.basic.LightGBMError, xgboost.core.XGBoostError, UnicodeDecodeError) as error:
        raise BundleError(f"not a {kind} model: {error}") from error
    raise BundleError(f"no regressor kind {kind!r}, expected {', '.join(FILE_NAMES)}")
