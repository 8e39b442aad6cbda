"""One crystal as different codes write it: how far predictions move from those of the reference density.

    python benchmarks/bench_dialects.py --dialects npz/ --bundle pretrained:

Each <material_id>.npz holds the same density as `ref`, `alt` (another PAW set: other semicore electrons), `ae`
(all-electron valence) and `soft` (smooth part only), in electrons/A3, with lattice, species and frac_coords.
"""

import argparse
from pathlib import Path

from _results import write_result
from bench_invariance import change, table, values

from rhoray.inference.predictor import Predictor
from rhoray.local.npz import read_npz

DIALECTS = ("alt", "ae", "soft")


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dialects", type=Path, required=True)
    parser.add_argument("--bundle", default="pretrained:")
    args = parser.parse_args()
    paths = sorted(args.dialects.glob("*.npz"))
    predictor = Predictor.load(args.bundle)
    expected = values(predictor, [read_npz(p, "ref") for p in paths])
    changes = {d: change(values(predictor, [read_npz(p, d) for p in paths]), expected) for d in DIALECTS}
    head = [
        f"{len(paths)} crystals, bundle {predictor.version}.",
        "Change of a prediction from that of `ref`, median / 95th percentile, in %.",
    ]
    lines = [*head, *table(changes, "dialect", "All dialects and properties", (3, 8), digits=2)]
    write_result("dialects", "One density, four dialects", "\n".join(lines) + "\n", ("numpy", "lightgbm"))


if __name__ == "__main__":
    main()
