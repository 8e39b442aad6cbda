"""What the packaged bundle's own cross-validation says: errors of every target, and what its intervals hold.

    python bench_bundle.py --table materials.parquet --features features.npz --work build/

Reads what rhoray.local.build_pretrained left in --work; folds keep every chemical system on one side. An interval is
calibrated on the residuals of the other four folds. The same ensemble without densities and neighbours, on the same
folds, is fitted where it is not in --work yet (six minutes of one core); networks on sites take no part in it.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from _feature_ensemble import FEATURE_MEMBERS, FEATURE_SHARES
from _results import write_result
from sklearn.metrics import mean_absolute_error, r2_score

from rhoray.core.intervals import calibrate, with_derived_spreads
from rhoray.core.targets import get_target, in_reading_order, with_derived
from rhoray.evaluate.protocol import grouped_folds
from rhoray.evaluate.statistics import bootstrap, draws, paired
from rhoray.local.build_pretrained import (
    FOLDS,
    SEED,
    STRUCTURE,
    TARGETS,
    CrossValidation,
    combine,
    cross_validate,
    model_values,
    only_structures,
    without_sample_tests,
)
from rhoray.local.training_table import TrainingTable, read_table
from rhoray.train.ensemble import Crystals

PLAIN = ("magpie", "cell", "elements")


def spans(expected: np.ndarray, found: np.ndarray, crystals: Sequence[str]) -> list[str]:
    """Return R2 and MAE, each with its 95 % bootstrap interval over crystals."""
    samples = draws(crystals, SEED)
    judged = ((r2_score, ".3f"), (mean_absolute_error, ".3g"))
    estimates = ((bootstrap(metric, expected, found, samples), form) for metric, form in judged)
    return [f"{e.value:{form}} ({e.lower:{form}} to {e.upper:{form}})" for e, form in estimates]


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


def gains(
    table: TrainingTable, labels: pd.DataFrame, found: dict[str, np.ndarray], reference: dict[str, np.ndarray]
) -> list[str]:
    """Return how much smaller errors are than those of a reference, with paired intervals."""
    lines = ["| property | unit | MAE without | MAE with | smaller by |", "|" + " --- |" * 5]
    for target in TARGETS:
        y = labels[target.name].to_numpy(float)
        known = np.isfinite(y)
        samples = draws(table.crystals.material_id[known].tolist(), SEED)
        result = paired(y[known], found[target.name][known], reference[target.name][known], samples)
        less, least, most = (-100 * x for x in (result.change.value, result.change.upper, result.change.lower))
        errors = [mean_absolute_error(y[known], side[target.name][known]) for side in (reference, found)]
        lines.append(
            f"| {target.label} | {target.unit} | {errors[0]:.3g} | {errors[1]:.3g} | {less:.1f} % "
            f"({least:.1f} to {most:.1f} %) |"
        )
    return lines


def of_features(table: TrainingTable, values: dict[str, np.ndarray], work: Path, name: str) -> dict[str, np.ndarray]:
    """Return what the ensemble of members that look at features alone says, in the targets' units.

    Args:
        table: features.
        values: labels on the model's scale.
        work: folder of the predictions.
        name: `bundle` for the bundle's own features, `plain` for those of PLAIN.
    """
    blocks = PLAIN if name == "plain" else STRUCTURE
    columns = [label for label in table.labels if label.split(".")[0] in blocks]
    folds = grouped_folds(table.crystals.chemical_system.tolist(), count=FOLDS, seed=SEED)
    run = CrossValidation(Crystals(table.columns(columns), columns), values, folds, work, name)
    members = cross_validate(run, FEATURE_MEMBERS)
    return {target.name: combine(members, target, FEATURE_SHARES) for target in TARGETS}


def main() -> None:
    """Write results/bundle_….md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("table", "features", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    table = only_structures(without_sample_tests(read_table(args.features)))
    crystals = table.crystals
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
        cells = [
            target.label,
            target.unit,
            str(known.sum()),
            *spans(y[known], found[name][known], crystals.material_id[known].tolist()),
        ]
        lines.append(f"| {' | '.join([*cells, f'{share:.1%}', f'{width:.3g}', f'{constant:.3g}'])} |")
    body = (
        f"{FOLDS} folds by chemical system, structure input, no row trimmed; in brackets 95 % bootstrap intervals over "
        "crystals. The shares of the ensemble's members were chosen on such predictions, which flatters slightly.\n\n"
    )
    values = model_values(table, labels.reset_index())
    plain, features = (of_features(table, values, args.work, name) for name in ("plain", "bundle"))
    without = f"{', '.join(PLAIN)} alone, without densities (given, superposed, latent) and bonds"
    first = (
        f"Members that look at features, without the networks on sites, against the same on {without}. On the same "
        "folds; in brackets paired 95 % bootstrap intervals:"
    )
    second = (
        "All members against those that look at features: what the networks on sites bring, which see atoms, distances "
        "and angles, and no density:"
    )
    third = f"All members against those that look at features, on {without}:"
    for about, side, reference in ((first, features, plain), (second, found, features), (third, found, plain)):
        lines += ["", about, "", *gains(table, labels, side, reference)]
    write_result("bundle", "The packaged bundle", body + "\n".join(lines) + "\n", ("numpy", "lightgbm", "torch"))


if __name__ == "__main__":
    main()
