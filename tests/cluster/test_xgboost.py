"""XGBoost: xgboost_ray trains on Ray actors inside a Ray Tune search."""

import numpy as np
import pytest

from rhoray.core.storage import find, join, read_bytes
from rhoray.models.regressor import load_regressor
from rhoray.tune.fitting import fit_trees
from rhoray.tune.search import SearchConfig, search_regressors
from rhoray.tune.spaces import xgboost_space

pytestmark = pytest.mark.cluster


def test_trees_grown_on_ray_actors_learn(cluster):
    x = np.random.default_rng(0).normal(size=(200, 5))
    space = xgboost_space()
    params = {**space.fixed, **space.start, "rounds": 60}
    trees = fit_trees("xgboost", x, x[:, 0] + x[:, 1], params, seed=0)
    assert np.corrcoef(trees.predict(x), x[:, 0] + x[:, 1])[0, 1] > 0.9


def test_a_search_over_xgboost_yields_a_regressor(pipeline, bucket):
    out = f"{bucket}/runs/xgboost"
    config = SearchConfig(
        latents=pipeline.latents,
        targets=["bulk_modulus"],
        out=out,
        model="xgboost",
        features=["magpie"],
        trials=1,
        folds=2,
    )
    summary = search_regressors(config)
    assert summary["targets"]["bulk_modulus"]["r2"] > 0.8
    folder = join(out, "regressors", "bulk_modulus")
    files = {stat.uri.rsplit("/", 1)[1]: read_bytes(stat.uri) for stat in find(folder)}
    assert load_regressor(files).about.kind == "xgboost"
