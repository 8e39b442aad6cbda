"""A regressor: trees with the target they learned, the blocks they look at, and how they were judged.

On disk it is a folder: `regressor.json` and one model file.
"""

import json
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from rhoray.core.errors import BundleError
from rhoray.core.targets import Target, get_target
from rhoray.models.attention_cnn import ATTENTION_CNN, WEIGHTS, AttentionCNN, load_attention_cnn
from rhoray.models.boosted_trees import FILE_NAMES, BoostedTrees, load_trees

ABOUT = "regressor.json"


@dataclass(frozen=True, slots=True)
class About:
    """What `regressor.json` holds.

    Attributes:
        target: column name.
        unit: of the target.
        kind: lightgbm or xgboost.
        log: whether the trees predict the natural logarithm.
        blocks: feature blocks, in order.
        labels: feature columns, in order.
        params: what the search chose.
        metrics: grouped cross-validation on the training crystals.
        encoder: hash of the autoencoder whose latents it saw, None if it saw none.
        count: crystals it was fitted on.
        seed: of folds and trees.
    """

    target: str
    unit: str
    kind: str
    log: bool
    blocks: list[str]
    labels: list[str]
    params: dict[str, Any]
    metrics: dict[str, float]
    encoder: str | None
    count: int
    seed: int
    extra: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Regressor:
    """Fitted trees and what they are."""

    about: About
    trees: BoostedTrees | AttentionCNN

    @property
    def target(self) -> Target:
        """The property that is predicted."""
        return get_target(self.about.target, self.about.unit)

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return predictions in the target's unit."""
        return from_model_scale(self.trees.predict(features), log=self.about.log)

    def to_files(self) -> dict[str, bytes]:
        """Return the folder's content by file name."""
        about = json.dumps(asdict(self.about), indent=1, sort_keys=True) + "\n"
        name = WEIGHTS if self.about.kind == ATTENTION_CNN else FILE_NAMES[self.about.kind]
        return {ABOUT: about.encode(), name: self.trees.to_bytes()}


def load_regressor(files: dict[str, bytes]) -> Regressor:
    """Return the regressor of a folder.

    Raises:
        BundleError: a file is missing or not what it should be.
    """
    try:
        about = About(**json.loads(files[ABOUT]))
        if about.kind == ATTENTION_CNN:
            return Regressor(about, load_attention_cnn(files[WEIGHTS]))
        content = files[FILE_NAMES[about.kind]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"not a regressor: {sorted(files)}: {error}") from error
    return Regressor(about, load_trees(about.kind, content))


def to_model_scale(values: Float[np.ndarray, " n"], *, log: bool) -> Float[np.ndarray, " n"]:
    """Return what trees are fitted to."""
    return np.log(values) if log else values


def from_model_scale(values: Float[np.ndarray, " n"], *, log: bool) -> Float[np.ndarray, " n"]:
    """Invert `to_model_scale`."""
    return np.exp(values) if log else values
