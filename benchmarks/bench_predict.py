"""How fast structures become numbers: the predictor on one core, where its time goes, loading; and the job, on all.

    python benchmarks/bench_predict.py --table structures.parquet --bundle pretrained:

The table has a column poscar; of its structures of up to 10 atoms the first 200 are taken, by the job the first 3,000.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
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
COUNT_OF_JOB = 3000
JOB = Path(__file__).resolve().parent.parent / "jobs" / "predict.py"
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


def job(poscars: list[str], bundle: str) -> str:
    """Return what jobs/predict.py says of a table of structures, and how long it took with all that starts."""
    with tempfile.TemporaryDirectory() as folder:
        source, out = Path(folder) / "structures.parquet", Path(folder) / "out.csv"
        pd.DataFrame({"material_id": [f"s{i}" for i in range(len(poscars))], "poscar": poscars}).to_parquet(source)
        command = [sys.executable, str(JOB), "--bundle", bundle, "--source", str(source), "--out", str(out)]
        began = time.perf_counter()
        done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
        wall = time.perf_counter() - began
        said = json.loads(done.stdout.splitlines()[-1])
        inside = int(pd.read_csv(out).in_domain.sum())
    rows, took = said["rows"], said["seconds"]
    return (
        f"jobs/predict.py, {rows} structures of up to {MOST_ATOMS} atoms in a Parquet table, {os.cpu_count()} cores: "
        f"{took:.1f} s once Ray runs, {rows / took:.0f} crystals/s; with its start and end {wall:.1f} s, "
        f"{rows / wall:.0f} crystals/s. {said['failed']} failed, {inside} in domain."
    )


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--table", type=Path, required=True)
    parser.add_argument("--bundle", default="pretrained:")
    args = parser.parse_args()
    torch.set_num_threads(1)
    everything = [p for p in pd.read_parquet(args.table).poscar if atoms(p) <= MOST_ATOMS]
    poscars = everything[:COUNT]
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
    lines += ["", job(everything[:COUNT_OF_JOB], args.bundle)]
    write_result("predict", "From structures to numbers", "\n".join(lines) + "\n", ("numpy", "lightgbm", "pymatgen"))


if __name__ == "__main__":
    main()
