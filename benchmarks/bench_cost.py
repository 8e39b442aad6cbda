"""What a crystal costs: an SCF, a full elastic workflow, RhoRay from a CHGCAR, RhoRay from a CIF. In CPU seconds.

    python benchmarks/bench_cost.py --cache cost.json --material mp-74 mp-1138   measure, keep in cost.json
    python benchmarks/bench_cost.py --cache cost.json                            write the table of what is there

Crystals are those of the packaged sample. The workflow is what labels are made of: relaxation of cell and atoms, then
24 strained cells (six strains of -1, -0.5, 0.5 and 1 %), each with its stress, with the settings of the sample. Its
atoms stay where the strain puts them: relaxing them too would cost more. GPAW must be installed; one thread each.
"""

import argparse
import json
import statistics
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import write_result

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.gpaw_scf import ACCURACIES, gpaw_parameters, scf_density
from rhoray.density.vasp import write_chgcar
from rhoray.inference.predictor import Predictor, read_input
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

ACCURACY = ACCURACIES["reference"]
STRAINS = (-0.01, -0.005, 0.005, 0.01)
# Voigt order.
PAIRS = ((0, 0), (1, 1), (2, 2), (1, 2), (0, 2), (0, 1))
MOST_FORCE = 0.02
MOST_STEPS = 30
REPEATS = 5
WAYS = {
    "scf": "one SCF",
    "workflow": "elastic workflow",
    "chgcar": "RhoRay, CHGCAR",
    "cif": "RhoRay, CIF",
}


def cpu_of(work: Callable[[], Any]) -> tuple[float, Any]:
    """Return the CPU seconds of this process, and what came out."""
    began = time.process_time()
    found = work()
    return time.process_time() - began, found


def elastic_workflow(density: ChargeDensity) -> dict[str, float]:
    """Relax, strain 24 times, fit; return counts and the bulk modulus (Voigt, GPa)."""
    from ase import Atoms  # noqa: PLC0415
    from ase.calculators.calculator import kpts2sizeandoffsets  # noqa: PLC0415
    from ase.filters import FrechetCellFilter  # noqa: PLC0415
    from ase.optimize import BFGS  # noqa: PLC0415
    from ase.units import GPa  # noqa: PLC0415
    from gpaw import GPAW  # noqa: PLC0415

    atoms = Atoms(density.species, scaled_positions=density.frac_coords, cell=density.lattice, pbc=True)
    parameters = gpaw_parameters(ACCURACY)
    # The same k-points for every strain, or the stress would jump with their number.
    size, _ = kpts2sizeandoffsets(density=ACCURACY.kpoint_density, gamma=True, atoms=atoms)
    parameters["kpts"] = {"size": tuple(int(n) for n in size), "gamma": True}
    atoms.calc = GPAW(**parameters)
    relaxation = BFGS(FrechetCellFilter(atoms), logfile=None)
    relaxation.run(fmax=MOST_FORCE, steps=MOST_STEPS)
    columns = []
    for i, j in PAIRS:
        stresses = []
        for strain in STRAINS:
            deformed = atoms.copy()
            tensor = np.zeros((3, 3))
            tensor[i, j] += strain / 2
            tensor[j, i] += strain / 2
            deformed.set_cell(atoms.cell @ (np.eye(3) + tensor), scale_atoms=True)
            deformed.calc = GPAW(**parameters)
            stresses.append(deformed.get_stress() / GPa)
        columns.append(np.polyfit(STRAINS, np.array(stresses), 1)[0])
    stiffness = np.array(columns)[:3, :3]
    return {"steps": relaxation.nsteps, "bulk_modulus": float(stiffness.sum() / 9)}


def measure(density: ChargeDensity, label: float) -> dict[str, Any]:
    """Return the CPU seconds of every way for one crystal."""
    structure = structure_of(density)
    predictor = Predictor.load("pretrained:")
    texts = {"chgcar": write_chgcar(density).encode(), "cif": structure.to(fmt="cif").encode()}
    found: dict[str, Any] = {"formula": structure.composition.reduced_formula, "atoms": len(structure), "label": label}
    for way, text in texts.items():
        predictor([read_input(text)])  # what is read once
        times = [cpu_of(lambda text=text: predictor([read_input(text)]))[0] for _ in range(REPEATS)]
        found[way] = statistics.median(times)
    found["scf"] = cpu_of(lambda: scf_density(structure, ACCURACY))[0]
    found["workflow"], about = cpu_of(lambda: elastic_workflow(density))
    return {**found, **about}


def table(cache: dict[str, dict[str, Any]]) -> str:
    """Return the side-by-side table."""
    lines = [
        "CPU seconds a crystal, one thread. SCF and workflow: GPAW, PBE, 350 eV, k-point density 1.6 A, spin-paired.",
        "RhoRay: reading the file and predicting with the packaged bundle, which is loaded once; median of 5.",
        "",
        "| crystal | atoms | " + " | ".join(WAYS.values()) + " | workflow / CHGCAR | workflow / CIF |"
        " relaxation steps | bulk modulus of the workflow | label |",
        "| --- " * (9 + len(WAYS) - 2) + "|",
    ]
    for material_id, row in cache.items():
        times = [f"{row[way]:.3g}" for way in WAYS]
        ratios = [f"{row['workflow'] / row[way]:.0f}" for way in ("chgcar", "cif")]
        moduli = [f"{row[modulus]:.0f} GPa" for modulus in ("bulk_modulus", "label")]
        cells = [f"{row['formula']} ({material_id})", str(row["atoms"]), *times, *ratios, str(row["steps"]), *moduli]
        lines.append(f"| {' | '.join(cells)} |")
    middle = {way: statistics.median(row[way] for row in cache.values()) for way in WAYS}
    without = statistics.median(row["workflow"] / (row["scf"] + row["chgcar"]) for row in cache.values())
    times = " | ".join(f"{middle[way]:.3g}" for way in WAYS)
    by_chgcar, by_cif = (statistics.median(r["workflow"] / r[way] for r in cache.values()) for way in ("chgcar", "cif"))
    return "\n".join(lines) + (
        f"\n| median | | {times} | {by_chgcar:.0f} | {by_cif:.0f} | | | |\n\n"
        f"From a CIF, without any SCF, RhoRay takes 1/{by_cif:.0f} of the workflow in the median. Where a CHGCAR must\n"
        f"be calculated first, SCF and RhoRay together take 1/{without:.0f} of it (arXiv:2605.07227 claims 1/25).\n\n"
        "The moduli show that the workflow ran. 350 eV is too little for the stress of LiF, whose pressure\n"
        "in the sample's cell is -119 GPa, at 700 eV -0.2 GPa: its modulus here means nothing, its cost does.\n"
    )


def main() -> None:
    """Measure what is asked for, or write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("--material", nargs="+", default=[])
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    cache = json.loads(args.cache.read_text()) if args.cache.exists() else {}
    manifest = read_manifest(sample_uri())
    labels = manifest.written.set_index("material_id").bulk_modulus
    rows = {row["material_id"]: row for uri in manifest.shards for row in read_shard(uri)}
    for material_id in args.material:
        cache[material_id] = measure(row_density(rows[material_id]), float(labels[material_id]))
        args.cache.write_text(json.dumps(cache, indent=1))
        print(material_id, cache[material_id])
    if not args.material:
        write_result("cost", "What a crystal costs", table(cache), ("gpaw", "gpaw-data", "numpy", "torch"))


if __name__ == "__main__":
    main()
