"""A small search on made-up rows, to be run in this process or in one that a test kills."""

import sys

import numpy as np

from rhoray.core.targets import get_target
from rhoray.evaluate.protocol import grouped_folds
from rhoray.tune.rounds import Trial
from rhoray.tune.search import SearchConfig, _rounds
from rhoray.tune.spaces import lightgbm_space
from rhoray.tune.trials import Task

TRIALS = 6


def search(folder: str, *, resume: bool = False, seed: int = 0) -> list[Trial]:
    """Search LightGBM's settings for 90 rows, in rounds of two, under `folder`."""
    rng = np.random.default_rng(5)
    x = rng.normal(size=(90, 8))
    y = x[:, 0] * x[:, 1] + x[:, 2] + 0.3 * rng.normal(size=90)
    folds = grouped_folds([str(i // 2) for i in range(90)], count=4, seed=0)
    space = lightgbm_space()
    task = Task("lightgbm", x, y, False, folds, space.fixed, seed, 0)
    config = SearchConfig(latents="", targets=[], out="", trials=TRIALS, resume=resume, round_size=2, seed=seed)
    return _rounds(task, space, config, folder, get_target("made_up"))


if __name__ == "__main__":
    import ray

    ray.init(logging_level="ERROR")
    search(sys.argv[1], resume=True)
