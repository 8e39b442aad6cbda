"""How far public labels can be trusted: two sets of PBE moduli of the same compounds, and our predictions beside them.

    python bench_labels.py --table materials.parquet --other elastic_2015.parquet --work build/

The other set (de Jong et al., Sci. Data 2, 150009 (2015)) holds earlier calculations of the same kind. Predictions are
those that rhoray.local.build_pretrained left in --work, each from models that had not seen the compound in either set.
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from _results import write_result
from sklearn.metrics import mean_absolute_error, r2_score

from rhoray.core.targets import BULK_MODULUS, SHEAR_MODULUS

ALIKE = 0.1
WORST = 5


def told(expected: np.ndarray, found: np.ndarray) -> str:
    """Return R2, mean and median absolute error."""
    error = np.abs(found - expected)
    return f"{r2_score(expected, found):.3f} | {mean_absolute_error(expected, found):.2f} | {np.median(error):.2f}"


def main() -> None:
    """Write results/labels_….md."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("table", "other", "work"):
        parser.add_argument(f"--{name}", type=Path, required=True)
    args = parser.parse_args()
    labels, other = (pd.read_parquet(path).set_index("material_id") for path in (args.table, args.other))
    run = pd.read_parquet(args.work / "run" / "out_of_fold.parquet")
    found = run.pivot_table(index="material_id", columns="target", values="found")
    lines = [
        "| property | labels of | compared with them | crystals | R2 | MAE, GPa | median, GPa |",
        "|" + " --- |" * 7,
    ]
    notes = []
    for target in (BULK_MODULUS, SHEAR_MODULUS):
        ids = found.index.intersection(other.index)
        ours, first, second = (t.loc[ids, target.name].to_numpy(float) for t in (found, labels, other))
        alike = np.abs(second / first - 1) < ALIKE
        for name, some in (
            ("all that are in both", np.full(len(ids), True)),
            (f"those whose two labels differ by less than {ALIKE:.0%}", alike),
            ("those whose two labels differ by more", ~alike),
        ):
            lines += [
                f"| {target.label} | {name} | {what} | {some.sum()} | {told(expected[some], given[some])} |"
                for what, expected, given in (
                    ("the other set against the first", first, second),
                    ("predictions against the first set", first, ours),
                    ("predictions against the other set", second, ours),
                )
            ]
        y = labels.loc[found.index, target.name].to_numpy(float)
        p = found[target.name].to_numpy(float)
        known = np.isfinite(y) & np.isfinite(p)
        y, p, names = y[known], p[known], labels.loc[found.index, "formula"][known].to_numpy()
        order = np.argsort(-np.abs(p - y))
        far = ", ".join(f"{names[i]} ({y[i]:.0f}, predicted {p[i]:.0f})" for i in order[:WORST])
        notes.append(
            f"Of all {len(y)} labels of the {target.label}, the {WORST} that predictions are farthest from are {far} "
            f"GPa. R2 is {r2_score(y, p):.3f} with them and {r2_score(y[order[WORST:]], p[order[WORST:]]):.3f} without."
        )
    body = (
        "Moduli of the same compounds in two sets of PBE calculations (the first is what models learn from), and "
        "predictions by models that had seen a compound in neither. No row is left out of any other table.\n\n"
    )
    write_result(
        "labels",
        "How far labels can be trusted",
        "\n".join([body + lines[0], *lines[1:], "", *notes, ""]),
        ("numpy", "scikit-learn"),
    )


if __name__ == "__main__":
    main()
