"""90 % intervals on crystals of unseen prototypes and chemical systems: do they cover, and how wide are they?

    python benchmarks/bench_intervals.py --cache DIR

Five outer folds; the judged fold takes no part in fitting, in the model of residuals, or in calibration, all of which
rest on five inner folds of the others, grouped alike. "constant" is one half-width in the target's unit, "factor" one
in its logarithm, "adaptive" what bundles have.
"""

import argparse
from pathlib import Path

import numpy as np
from _crystals import Crystals, load_crystals
from _nested import FOLDS, Nested, nested
from _results import write_result

from rhoray.core.intervals import Calibration, calibrate, with_derived_spreads
from rhoray.core.targets import get_target, with_derived
from rhoray.evaluate.metrics import coverage, regression_metrics
from rhoray.evaluate.protocol import grouped_folds
from rhoray.models.difficulty import fit_difficulty, spread_out_of_fold

LEARNED = ("bulk_modulus", "shear_modulus", "formation_energy_per_atom")
REPORTED = ("bulk_modulus", "shear_modulus", "youngs_modulus", "debye_temperature", "formation_energy_per_atom")
GROUPS = ("prototype", "chemical_system")
HEAD = "| folds by | target | MAE | covered: constant | factor | adaptive | mean width: constant | factor | adaptive |"
Parts = dict[str, np.ndarray]


def columns(crystals: Crystals, folds: dict[str, Nested], rows: str) -> tuple[Parts, Parts, Parts]:
    """Return labels, predictions and spreads of the rows to calibrate with (`train`) or to judge (`test`)."""
    labels, found, spreads = {}, {}, {}
    for target, part in folds.items():
        log, x = get_target(target).positive, crystals.features
        y = crystals.table[target].to_numpy(float)
        scale = np.log if log else np.asarray
        residuals = scale(y[part.train]) - part.out_of_fold
        if rows == "train":
            groups = crystals.table.formula.to_numpy(str)[part.train]
            inner = grouped_folds(groups.tolist(), count=FOLDS, seed=2)
            spread = spread_out_of_fold(inner, x[part.train], part.out_of_fold, residuals)
            predictions = part.out_of_fold
        else:
            model = fit_difficulty(crystals.labels, x[part.train], part.out_of_fold, residuals)
            predictions, spread = part.found, model.spread(x[part.test], part.found)
        at = part.train if rows == "train" else part.test
        found[target] = _spread_out(np.exp(predictions) if log else predictions, at, len(y))
        spreads[target] = _spread_out(spread, at, len(y))
        labels[target] = _spread_out(y[at], at, len(y))
    facts = crystals.table.mass_density.to_numpy(float), crystals.table.volume_per_atom.to_numpy(float)
    return with_derived(labels, *facts), with_derived(found, *facts), with_derived_spreads(found, spreads)


def _spread_out(values: np.ndarray, rows: np.ndarray, count: int) -> np.ndarray:
    out = np.full(count, np.nan)
    out[rows] = values
    return out


def judge(crystals: Crystals, group: str, cache: Path) -> list[str]:
    """Return a line for each target."""
    folds = {t: nested(crystals, t, group, log=get_target(t).positive, cache=cache) for t in LEARNED}
    ends: dict[str, list[tuple[np.ndarray, ...]]] = {target: [] for target in REPORTED}
    for i in range(FOLDS):
        one = {target: parts[i] for target, parts in folds.items()}
        labels, found, spreads = columns(crystals, one, "train")
        judged, predicted, widths = columns(crystals, one, "test")
        for target in REPORTED:
            rows = np.isfinite(judged[target]) & np.isfinite(predicted[target])
            y, p, w = judged[target][rows], predicted[target][rows], widths[target][rows]
            log = get_target(target).positive
            made: list[Calibration] = [
                calibrate(labels[target], found[target], log=False),
                calibrate(labels[target], found[target], log=log),
                calibrate(labels[target], found[target], log=log, spread=spreads[target]),
            ]
            ends[target].append((y, p, *(end for c in made for end in c.interval(p, w))))
    return [_line(group, t, [np.concatenate(parts) for parts in zip(*ends[t], strict=True)]) for t in REPORTED]


def _line(group: str, target: str, parts: list[np.ndarray]) -> str:
    y, p = parts[:2]
    bounds = [(parts[i], parts[i + 1]) for i in (2, 4, 6)]
    about = get_target(target)
    covered = " | ".join(f"{coverage(y, low, high):.1%}" for low, high in bounds)
    widths = " | ".join(f"{(high - low).mean():.3g}" for low, high in bounds)
    mae = regression_metrics(y, p)["mae"]
    return f"| {group.replace('_', ' ')} | {about.label} ({about.unit}) | {mae:.3g} | {covered} | {widths} |"


def main() -> None:
    """Judge both kinds of folds and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    args = parser.parse_args()
    crystals = load_crystals(args.cache)
    lines = [HEAD, "| --- " * HEAD.count(" |") + "|"]
    lines += [line for group in GROUPS for line in judge(crystals, group, args.cache)]
    notes = f"\n{len(crystals.table)} crystals, features of promolecular densities, plain LightGBM.\n"
    title = "90 % intervals on unseen prototypes and chemical systems"
    write_result("intervals", title, "\n".join(lines) + "\n" + notes, ("numpy", "lightgbm", "scikit-learn"))


if __name__ == "__main__":
    main()
