"""XGBoost: xgboost_ray trains on Ray actors inside a Ray Tune search."""

import os
import signal
import threading
import time

import numpy as np
import pytest
import xgboost

from rhoray.core.storage import find, join, read_bytes
from rhoray.local.processes import descendants, title
from rhoray.models.regressor import load_regressor
from rhoray.tune.distributed_xgboost import train_distributed
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


ROWS = np.random.default_rng(1).normal(size=(3000, 20))
SETTINGS = {**xgboost_space().fixed, "max_depth": 4, "eta": 0.05, "seed": 0}
ROUNDS = 600
# What `ps` says of an actor of either backend.
ACTORS = {"xgboost_ray": "_RemoteRayXGBoostActor", "ray_train": "RayTrainWorker"}
TRUTH = ROWS[:, 0] + ROWS[:, 1] * ROWS[:, 2]


@pytest.mark.parametrize("backend", ACTORS)
def test_two_actors_survive_the_loss_of_one(cluster, backend):
    done = []
    work = threading.Thread(
        target=lambda: done.append(train_distributed(ROWS, TRUTH, SETTINGS, ROUNDS, 2, backend=backend))
    )
    work.start()
    while len(actors := [pid for pid in descendants(os.getpid()) if ACTORS[backend] in title(pid)]) < 2:
        assert work.is_alive(), "it ended before an actor could be killed"
        time.sleep(0.05)
    time.sleep(1.0)
    assert work.is_alive()
    os.kill(actors[0], signal.SIGKILL)
    work.join(180)
    (booster,) = done
    assert booster.num_boosted_rounds() == ROUNDS
    found = booster.predict(xgboost.DMatrix(ROWS.astype(np.float32)))
    assert np.corrcoef(found, TRUTH)[0, 1] > 0.95


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
