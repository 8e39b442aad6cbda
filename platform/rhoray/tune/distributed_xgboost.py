"""XGBoost on Ray actors behind one function: by xgboost_ray, which our users named, or by Ray Train.

Either way rows are spread over actors, the result is a plain booster, and an actor that dies is replaced: training goes
on from the last checkpoint. Decision 0003 says which versions of what work together.
"""

import tempfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
import ray.data
import xgboost
import xgboost_ray
from jaxtyping import Float
from ray.train import (
    Checkpoint,
    FailureConfig,
    RunConfig,
    ScalingConfig,
    get_checkpoint,
    get_context,
    get_dataset_shard,
    report,
)
from ray.train.xgboost import RayTrainReportCallback, XGBoostTrainer

Matrix = Float[np.ndarray, "n f"]
Values = Float[np.ndarray, " n"]
Backend = Literal["xgboost_ray", "ray_train"]

RESTARTS = 2
# Rounds that a dead actor costs at most.
CHECKPOINT_EVERY = 20
REPORT_EVERY = 200
LABEL = "label"


def train_distributed(
    features: Matrix, values: Values, settings: dict[str, Any], rounds: int, actors: int,
    backend: Backend = "xgboost_ray",
) -> xgboost.Booster:  # fmt: skip
    """Return a booster trained on the rows by several Ray actors of one CPU each.

    Args:
        features: (n, f).
        values: (n,).
        settings: of XGBoost.
        rounds: trees.
        actors: over which the rows are spread.
        backend: who starts the actors and has them talk.
    """
    if backend == "ray_train":
        return _ray_train(features, values, settings, rounds, actors)
    return xgboost_ray.train(
        settings,
        xgboost_ray.RayDMatrix(features.astype(np.float32), values.astype(np.float32)),
        num_boost_round=rounds,
        verbose_eval=False,
        ray_params=xgboost_ray.RayParams(
            num_actors=actors, cpus_per_actor=1, max_actor_restarts=RESTARTS, checkpoint_frequency=CHECKPOINT_EVERY
        ),
    )


def _ray_train(features: Matrix, values: Values, settings: dict[str, Any], rounds: int, actors: int) -> xgboost.Booster:
    table = pd.DataFrame(features.astype(np.float32), columns=[str(i) for i in range(features.shape[1])])
    table[LABEL] = values.astype(np.float32)
    with tempfile.TemporaryDirectory() as folder:
        result = XGBoostTrainer(
            _worker,
            train_loop_config={"settings": settings, "rounds": rounds},
            scaling_config=ScalingConfig(num_workers=actors),
            datasets={"train": ray.data.from_pandas(table)},
            run_config=RunConfig(
                name="xgboost", storage_path=str(Path(folder).resolve()),
                failure_config=FailureConfig(max_failures=RESTARTS),
            ),
        ).fit()  # fmt: skip
        assert result.checkpoint is not None
        return RayTrainReportCallback.get_model(result.checkpoint)


def _worker(config: dict[str, Any]) -> None:
    """Train on this worker's rows; XGBoost's collective sums the histograms of all.

    In chunks, and one report each: Ray Train takes some two seconds for a report, far longer than a tree.
    """
    shard = get_dataset_shard("train").materialize().to_pandas()
    data = xgboost.DMatrix(shard.drop(columns=LABEL).to_numpy(), shard[LABEL].to_numpy())
    kept: Checkpoint | None = get_checkpoint()
    booster = None if kept is None else RayTrainReportCallback.get_model(kept)
    done = 0 if booster is None else booster.num_boosted_rounds()
    while done < config["rounds"]:
        count = min(REPORT_EVERY, config["rounds"] - done)
        booster = xgboost.train(config["settings"], data, count, xgb_model=booster)
        done += count
        with tempfile.TemporaryDirectory() as folder:
            booster.save_model(str(Path(folder) / RayTrainReportCallback.CHECKPOINT_NAME))
            mine = get_context().get_world_rank() == 0
            report({"rounds": done}, checkpoint=Checkpoint.from_directory(folder) if mine else None)
