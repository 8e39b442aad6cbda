"""A regressor: a model with the target it learned, the blocks it looks at, and how it was judged.

On disk it is a folder: `regressor.json` and one model file, or those of each member of an ensemble.
"""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float

from rhoray.core.errors import BundleError
from rhoray.core.targets import Target, get_target
from rhoray.features.sites import Sites
from rhoray.models.attention_cnn import ATTENTION_CNN, WEIGHTS, load_attention_cnn
from rhoray.models.boosted_trees import FILE_NAMES, load_trees
from rhoray.models.ensemble import ENSEMBLE, Ensemble, load_ensemble
from rhoray.models.model import Model

ABOUT = "regressor.json"


@dataclass(frozen=True, slots=True)
class About:
    """What `regressor.json` holds.

    Attributes:
        target: column name.
        unit: of the target.
        kind: lightgbm, xgboost or ensemble.
        log: whether the model predicts the natural logarithm.
        blocks: feature blocks, in order.
        labels: feature columns, in order.
        params: what the search chose; of an ensemble, `shares` of its members.
        metrics: grouped cross-validation on the training crystals.
        encoder: hash of the autoencoder whose latents it saw, None if it saw none.
        count: crystals it was fitted on.
        seed: of folds and models.
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
    """A fitted model and what it is."""

    about: About
    model: Model

    @property
    def target(self) -> Target:
        """The property that is predicted."""
        return get_target(self.about.target, self.about.unit)

    @property
    def needs_sites(self) -> bool:
        """Whether the model looks at sites besides features."""
        return isinstance(self.model, Ensemble) and self.model.needs_sites

    def predict(
        self, features: Float[np.ndarray, "n f"], crystals: Sequence[Sites] | None = None
    ) -> Float[np.ndarray, " n"]:
        """Return predictions in the target's unit.

        Args:
            features: (n, f).
            crystals: (n,); only if `needs_sites`.
        """
        model = self.model
        found = model.predict(features, crystals) if isinstance(model, Ensemble) else model.predict(features)
        return from_model_scale(found, log=self.about.log)

    def to_files(self) -> dict[str, bytes]:
        """Return the folder's content by file name."""
        about = json.dumps(asdict(self.about), indent=1, sort_keys=True) + "\n"
        return {ABOUT: about.encode(), **self.model.to_files()}


def load_regressor(files: dict[str, bytes]) -> Regressor:
    """Return the regressor of a folder.

    Raises:
        BundleError: a file is missing or not what it should be.
    """
    try:
        about = About(**json.loads(files[ABOUT]))
        if about.kind == ATTENTION_CNN:
            return Regressor(about, load_attention_cnn(files[WEIGHTS]))
        if about.kind == ENSEMBLE:
            return Regressor(about, load_ensemble(files, about.params["shares"]))
        content = files[FILE_NAMES[about.kind]]
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"not a regressor: {sorted(files)}: {error}") from error
    return Regressor(about, load_trees(about.kind, content))


def to_model_scale(values: Float[np.ndarray, " n"], *, log: bool) -> Float[np.ndarray, " n"]:
    """Return what models are fitted to."""
    return np.log(values) if log else values


def from_model_scale(values: Float[np.ndarray, " n"], *, log: bool) -> Float[np.ndarray, " n"]:
    """Invert `to_model_scale`."""
    return np.exp(values) if log else values
