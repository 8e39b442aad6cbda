"""What the packaged bundle's own cross-validation says: errors of every target, and what its intervals hold.

    python bench_bundle.py --table materials.parquet --features features.npz --work build/

Reads what rhoray.local.build_pretrained left in --work; folds keep every chemical system on one side. An interval is
calibrated on the residuals of the other four folds.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
from _results import write_result

from rhoray.core.intervals import calibrate, with_derived_spreads
from rhoray.core.targets import get_target, in_reading_order, with_derived
from rhoray.evaluate.protocol import grouped_folds
from rhoray.local.build_pretrained import FOLDS, SEED, only_structures, without_sample_tests
from rhoray.local.training_table import read_table

RESAMPLES = 1000


def spans(expected: np.ndarray, found: np.ndarray) -> list[str]:
    """Return R2 and MAE, each with its 95 % bootstrap interval over crystals."""

    def mae(rows: np.ndarray) -> float:
        return float(np.abs(expected[rows] - found[rows]).mean())

    def r2(rows: np.ndarray) -> float:
        y = expected[rows]
        return float(1 - ((y - found[rows]) ** 2).sum() / ((y - y.mean()) ** 2).sum())

    rng = np.random.default_rng(SEED)
    drawn = [rng.integers(0, len(expected), len(expected)) for _ in range(RESAMPLES)]
    return [_span(r2, drawn, ".3f"), _span(mae, drawn, ".3g")]


def _span(metric: Callable[[np.ndarray], float], drawn: list[np.ndarray], form: str) -> str:
    low, high = np.quantile([metric(rows) for rows in drawn], [0.025, 0.975])
    return f"{metric(np.arange(len(drawn[0]))):{form}} ({low:{form}} to {high:{form}})"


def held(
    expected: np.ndarray, found: np.ndarray, spread: np.ndarray, fold: np.ndarray, *, log: bool
) -> tuple[float, float, float]:
    """Return the share of labels inside, the mean width, and that of intervals of constant width."""
    inside, adaptive, constant = [], [], []
    for k in range(FOLDS):
        others = (fold != k) & ((expected > 0) | (not log))
        low, high = calibrate(expected[others], found[others], log=log, spread=spread[others]).interval(
            found[fold == k], spread[fold == k]
        )
        inside.append((expected[fold == k] >= low) & (expected[fold == k] <= high))
        adaptive.append(high - low)
        low, high = calibrate(expected[others], found[others], log=log).interval(found[fold == k])
        constant.append(high - low)
    return tuple(float(np.concatenate(parts).mean()) for parts in (inside, adaptive, constant))


def main() -> None:
    """Write results/bundle_….md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("table", "features", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    crystals = only_structures(without_sample_tests(read_table(args.features))).crystals
    fold = np.empty(len(crystals), int)
    for k, (_, test) in enumerate(grouped_folds(crystals.chemical_system.tolist(), count=FOLDS, seed=SEED)):
        fold[test] = k
    run = pd.read_parquet(args.work / "run" / "out_of_fold.parquet")
    wide = {side: run.pivot_table(index="material_id", columns="target", values=side) for side in ("found", "spread")}
    found, spread = (
        {str(t): values.reindex(crystals.material_id)[t].to_numpy(float) for t in values} for values in wide.values()
    )
    found = with_derived(found, crystals.mass_density.to_numpy(float), crystals.volume_per_atom.to_numpy(float))
    spread = with_derived_spreads(found, spread)
    labels = pd.read_parquet(args.table).set_index("material_id").loc[crystals.material_id]
    lines = [
        "| property | unit | crystals | R2 | MAE | inside the 90 % interval | mean width | constant width |",
        "|" + " --- |" * 8,
    ]
    for name in in_reading_order(found):
        target, y = get_target(name), labels[name].to_numpy(float)
        known = np.isfinite(y) & np.isfinite(found[name])
        share, width, constant = held(
            y[known], found[name][known], spread[name][known], fold[known], log=target.positive
        )
        cells = [target.label, target.unit, str(known.sum()), *spans(y[known], found[name][known])]
        lines.append(f"| {' | '.join([*cells, f'{share:.1%}', f'{width:.3g}', f'{constant:.3g}'])} |")
    body = (
        f"{FOLDS} folds by chemical system, structure input, no row trimmed; in brackets 95 % bootstrap intervals over "
        "crystals. The shares of the ensemble's members were chosen on such predictions, which flatters slightly.\n\n"
    )
    write_result("bundle", "The packaged bundle", body + "\n".join(lines) + "\n", ("numpy", "lightgbm", "torch"))


if __name__ == "__main__":
    main()
