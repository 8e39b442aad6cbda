"""One crystal as different codes write it: how far predictions move from those of the reference density.

    python benchmarks/bench_dialects.py --dialects npz/ --bundle pretrained:

Each <material_id>.npz holds the same density as `ref`, `alt` (another PAW set: other semicore electrons), `ae`
(all-electron valence) and `soft` (smooth part only), in electrons/A3, with lattice, species and frac_coords.
"""

import argparse
from pathlib import Path

import numpy as np
from _results import write_result
from bench_invariance import TARGETS, change, values

from rhoray.density.charge_density import ChargeDensity
from rhoray.inference.predictor import Predictor

DIALECTS = ("alt", "ae", "soft")


def read(path: Path, dialect: str) -> ChargeDensity:
    """Return one dialect of one crystal."""
    with np.load(path) as z:
        arrays = [z[name].astype(np.float64) for name in (dialect, "lattice", "frac_coords")]
        return ChargeDensity(arrays[0], arrays[1], tuple(z["species"].tolist()), arrays[2])


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialects", type=Path, required=True)
    parser.add_argument("--bundle", default="pretrained:")
    args = parser.parse_args()
    paths = sorted(args.dialects.glob("*.npz"))
    predictor = Predictor.load(args.bundle)
    expected = values(predictor, [read(p, "ref") for p in paths])
    changes = {d: change(values(predictor, [read(p, d) for p in paths]), expected) for d in DIALECTS}
    lines = [
        f"{len(paths)} crystals, bundle {predictor.version}.",
        "Change of a prediction from that of `ref`, median / 95th percentile, in %.",
        "",
        "| dialect | " + " | ".join(TARGETS) + " |",
        "| --- |" + " --- |" * len(TARGETS),
    ]
    for name, found in changes.items():
        cells = (f"{100 * np.median(c):.2f} / {100 * np.quantile(c, 0.95):.2f}" for c in found.T)
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    worst = np.concatenate(list(changes.values()))
    lines.append("")
    lines.append(f"All dialects and properties: median {100 * np.median(worst):.2f} %, 95th percentile "
                 f"{100 * np.quantile(worst, 0.95):.2f} % (wanted: 3 % and 8 %).")  # fmt: skip
    write_result("dialects", "One density, four dialects", "\n".join(lines) + "\n", ("numpy", "lightgbm"))


if __name__ == "__main__":
    main()
