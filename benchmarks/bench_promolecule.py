"""Promolecular densities: how fast, how close to GPAW's own superposition, how far from PBE densities.

    python benchmarks/bench_promolecule.py                              speed, on the packaged sample's crystals
    python benchmarks/bench_promolecule.py --densities DIR [--count N]  closeness too; GPAW must be installed

DIR holds PBE densities as .npz (density, lattice, species, frac_coords). They lie on GPAW's grid for 350 eV.
"""

import argparse
import functools
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from _results import write_result
from pymatgen.core import Structure

from rhoray.density.crystal import structure_of
from rhoray.density.free_atoms import free_atoms
from rhoray.density.gpaw_valence import gpaw_valence_density
from rhoray.density.promolecule import SPACING, promolecular_density
from rhoray.models.promolecule import promolecular_batch
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

MOST_ATOMS = 10
REPEATS = 3
SEED = 0
# Where to look closer, as a share of the electrons.
FAR = 0.005
NAMES = {
    "gpaw": "GPAW's superposition",
    "core as it is": "GPAW's superposition, its smooth core not scaled",
    "pbe": "PBE density",
}


def sample_structures() -> list[Structure]:
    """Return the packaged sample's crystals of up to 10 atoms."""
    rows = (row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri))
    return [structure_of(row_density(row)) for row in rows if len(row["species"]) <= MOST_ATOMS]


def seconds_of(work: Callable[[], object]) -> tuple[float, float]:
    """Return wall-clock and CPU seconds of the fastest of some repeats."""
    found = []
    for _ in range(REPEATS):
        wall, cpu = time.perf_counter(), time.process_time()
        work()
        found.append((time.perf_counter() - wall, time.process_time() - cpu))
    return min(found)


def speed(structures: Sequence[Structure]) -> list[str]:
    """Return the table of speeds."""
    torch.set_num_threads(1)
    paths: dict[str, Callable[[], object]] = {
        "NumPy, one by one": lambda: [promolecular_density(s) for s in structures],
        "torch, batched, CPU float64": lambda: promolecular_batch(structures),
        "torch, batched, CPU float32": lambda: promolecular_batch(structures, dtype=torch.float32),
    }
    if torch.cuda.is_available():
        name = torch.cuda.get_device_name()
        paths[f"torch, batched, {name} float64"] = functools.partial(promolecular_batch, structures, device="cuda")
        paths[f"torch, batched, {name} float32"] = functools.partial(
            promolecular_batch, structures, device="cuda", dtype=torch.float32
        )
    points = np.mean([promolecular_density(s).values.size for s in structures])
    atoms = np.mean([len(s) for s in structures])
    lines = [
        f"{len(structures)} crystals, {atoms:.1f} atoms and {points:,.0f} grid points on average; one thread.",
        "",
        "| path | crystals/s | CPU ms a crystal |",
        "| --- | --- | --- |",
    ]
    for name, work in paths.items():
        wall, cpu = seconds_of(work)
        lines.append(f"| {name} | {len(structures) / wall:.0f} | {1000 * cpu / len(structures):.2f} |")
    return lines


def gpaw_start(structure: Structure, gpts: tuple[int, ...] | None = None) -> Any:  # noqa: ANN401 - GPAW may be absent
    """Return GPAW's calculation as it begins: free atoms superposed."""
    from gpaw import GPAW, PW  # noqa: PLC0415
    from pymatgen.io.ase import AseAtomsAdaptor  # noqa: PLC0415

    atoms = AseAtomsAdaptor.get_atoms(structure)
    calculator = GPAW(mode=PW(350), xc="PBE", kpts=(1, 1, 1), symmetry="off", txt=None, gpts=gpts)
    calculator.create_new_calculation(atoms)
    return calculator.dft


def without_core_scale(calculation: Any) -> None:  # noqa: ANN401
    """Undo that GPAW scales the smooth core together with the valence density to make the cell neutral."""
    density = calculation.density
    grid = density.nt_sR.desc
    table = free_atoms()
    unscaled = table.smooth[table.rows(setup.symbol for setup in calculation.setups)].sum()
    scale = density.nt_sR.integrate().sum() / (unscaled + density.nct_R.integrate())
    valence = density.nt_sR.data[0] - scale * density.nct_R.data
    charges = density.calculate_compensation_charge_coefficients()
    sharp = sum(charges[atom][0] - delta for atom, delta in enumerate(density.delta0_a)) * np.sqrt(4 * np.pi)
    valence *= (density.nvalence - sharp) / (valence.mean() * grid.volume)
    density.nt_sR.data[0] = valence + density.nct_R.data


def misplaced(a: np.ndarray, b: np.ndarray) -> float:
    """Return the integral of |a - b| over that of b."""
    return float(np.abs(a - b).sum() / b.sum())


def compare(path: Path) -> dict[str, Any]:
    """Return distances for one crystal, as shares of its electrons."""
    with np.load(path) as z:
        structure = Structure(z["lattice"], z["species"], z["frac_coords"])
        pbe = z["density"].astype(float)
    calculation = gpaw_start(structure)
    gpaw = gpaw_valence_density(calculation, SPACING)
    ours = promolecular_density(structure, gpaw.shape)
    found = {
        "formula": structure.composition.reduced_formula,
        "gpaw": misplaced(ours.values, gpaw),
        "pbe": misplaced(promolecular_density(structure, pbe.shape).values, pbe),
        "electrons": abs(ours.n_electrons - sum(setup.Nv for setup in calculation.setups)),
        "native grid": promolecular_density(structure).values.shape == pbe.shape,
    }
    without_core_scale(calculation)
    found["core as it is"] = misplaced(ours.values, gpaw_valence_density(calculation, SPACING))
    if found["gpaw"] > FAR:
        fine = gpaw_start(structure, gpts=tuple(int(n) for n in 2 * calculation.density.nt_sR.desc.size_c))
        without_core_scale(fine)
        values = gpaw_valence_density(fine, SPACING)
        found["finer"] = misplaced(promolecular_density(structure, values.shape).values, values)
    return found


def closeness(folder: Path, count: int) -> list[str]:
    """Return the table of distances."""
    warnings.simplefilter("ignore")
    paths = sorted(folder.glob("*.npz"))
    chosen = np.random.default_rng(SEED).choice(len(paths), min(count, len(paths)), replace=False)
    rows = [compare(paths[i]) for i in sorted(chosen)]
    lines = [
        "",
        f"{len(rows)} crystals drawn from {len(paths)} (seed {SEED}); integral of |difference| over electrons, in %:",
        "",
        "| against | median | 90th percentile | 95th | largest | above 0.5 % |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for key, name in NAMES.items():
        found = 100 * np.array([row[key] for row in rows])
        middle, ninety, most = np.quantile(found, [0.5, 0.9, 0.95])
        far = sum(found > 100 * FAR)
        lines.append(f"| {name} | {middle:.3f} | {ninety:.3f} | {most:.3f} | {found.max():.3f} | {far} |")
    far_ones = [f"{r['formula']} {100 * r['gpaw']:.2f} ({100 * r['finer']:.3f})" for r in rows if "finer" in r]
    tenth = 100 * np.quantile([row["pbe"] for row in rows], 0.1)
    return [
        *lines,
        "",
        "GPAW scales its smooth core along with the valence density, and samples orbitals on its own coarse grid,",
        f"where those of N, O and F alias. Above 0.5 %, in brackets with neither: {', '.join(far_ones) or 'none'}.",
        "",
        f"From PBE: {tenth:.1f} % at the 10th percentile.",
        f"Electron counts: off by {max(row['electrons'] for row in rows):.0e} at most.",
        f"Native grid the same as the PBE density's: {sum(row['native grid'] for row in rows)} of {len(rows)}.",
    ]


def main() -> None:
    """Measure and write the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--densities", type=Path)
    parser.add_argument("--count", type=int, default=100)
    args = parser.parse_args()
    lines = speed(sample_structures())
    packages: tuple[str, ...] = ("numpy", "scipy", "torch")
    if args.densities:
        lines += closeness(args.densities, args.count)
        packages += ("gpaw", "gpaw-data")
    write_result("promolecule", "Promolecular densities", "\n".join(lines) + "\n", packages)


if __name__ == "__main__":
    main()
