"""A bar that counts trials and names the best so far, in place of Tune's tables."""

from typing import Any

from ray.tune import Callback
from ray.tune.experiment import Trial
from tqdm import tqdm

from rhoray.pipeline.progress import progress_bar


class TrialProgress(Callback):
    """Follows one round of one target's search."""

    def __init__(self, total: int, label: str, unit: str, *, done: int, best: float) -> None:
        self.total = total
        self.label = label
        self.unit = unit
        self.done = done
        self.best = best
        self.bar: tqdm | None = None

    def on_trial_complete(self, iteration: int, trials: list, trial: Trial, **info: object) -> None:
        """Count a trial that ran to its end or was stopped early."""
        del iteration, trials, info
        if self.bar is None:
            self.bar = progress_bar(self.total, f"tune {self.label}", "trials")
            self.bar.update(self.done)
        self.best = min(self.best, trial.last_result.get("mae", float("inf")))
        self.bar.set_postfix_str(f"best MAE {self.best:.3g} {self.unit}", refresh=False)
        self.bar.update()

    def on_experiment_end(self, trials: list, **info: object) -> None:
        """Close the bar."""
        del trials, info
        if self.bar is not None:
            self.bar.close()

    def __getstate__(self) -> dict[str, Any]:
        """Leave the bar out of Tune's saved state: it belongs to this terminal."""
        return {**self.__dict__, "bar": None}
