"""How fast structures become numbers: crystals a second of the predictor on one core, where its time goes, loading.

    python benchmarks/bench_predict.py --table structures.parquet --bundle pretrained:

The table has a column poscar; of its structures of up to 10 atoms the first 200 are taken.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from _results import write_result

from rhoray.features.registry import get_blocks
from rhoray.inference.predictor import Predictor, read_input
from rhoray.registry.bundle import load_bundle

COUNT = 200
MOST_ATOMS = 10
BATCH = 32


def atoms(poscar: str) -> int:
    """Return how many atoms a POSCAR has: the counts stand below the symbols."""
    return sum(int(n) for n in poscar.splitlines()[6].split())


def seconds(work: Callable[[], object]) -> float:
    """Return how long something takes."""
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--bundle", default="pretrained:")
    args = parser.parse_args()
    torch.set_num_threads(1)
    poscars = [p for p in pd.read_parquet(args.table).poscar if atoms(p) <= MOST_ATOMS][:COUNT]
    loading = [seconds(lambda: load_bundle(args.bundle)) for _ in range(3)]
    predictor = Predictor.load(args.bundle)
    densities = [read_input(p.encode()) for p in poscars]
    predictor(densities[:2])  # tables are read by the first call
    took = {"reading, promolecular density": seconds(lambda: [read_input(p.encode()) for p in poscars])}
    latent = np.zeros((16, 16, 16, 16))
    for name in dict.fromkeys(b for r in predictor.bundle.regressors.values() for b in r.about.blocks):
        (block,) = get_blocks([name])
        took[f"block {name}"] = seconds(lambda b=block: [b(d, latent) for d in densities])
    batches = [densities[i : i + BATCH] for i in range(0, len(densities), BATCH)]
    took["predictor, blocks included"] = seconds(lambda: [predictor(b) for b in batches])
    whole = took["reading, promolecular density"] + took["predictor, blocks included"]
    lines = [f"{len(poscars)} structures of up to {MOST_ATOMS} atoms, one core, batches of {BATCH}.", ""]
    lines += ["| step | ms a crystal |", "| --- | --- |"]
    lines += [f"| {name} | {1e3 * s / len(poscars):.1f} |" for name, s in took.items()]
    lines += ["", f"{len(poscars) / whole:.0f} crystals/s on one core from the text of a POSCAR to all properties."]
    lines += [f"Loading the bundle, hashes checked: {min(loading):.2f} s."]
    write_result("predict", "From structures to numbers", "\n".join(lines) + "\n", ("numpy", "lightgbm", "pymatgen"))


if __name__ == "__main__":
    main()
