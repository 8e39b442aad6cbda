"""One crystal, one answer: how far predictions move when the same crystal is described in another way.

    python benchmarks/bench_invariance.py --densities npz/ --bundle pretrained:

For each crystal with a DFT density: a supercell, another origin, the primitive or conventional cell, other axes, twice
the grid. Densities are moved along exactly (tiled, rolled, permuted, or resampled by Fourier); the primitive and the
conventional cell are of the structure, with its promolecular density. `--densities` is a folder of <material_id>.npz.
"""

import argparse
from pathlib import Path

import numpy as np
from _results import write_result
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import structure_of
from rhoray.density.promolecule import promolecular_density
from rhoray.density.resample import fourier_resample
from rhoray.inference.predictor import Predictor
from rhoray.local.npz import read_npz
from rhoray.store.codec import to_compact

COUNT = 100
TARGETS = ("bulk_modulus", "shear_modulus", "youngs_modulus", "debye_temperature", "formation_energy_per_atom")
# Formation energies may be near zero: there the change is given relative to this at least, eV/atom.
SMALLEST_ENERGY = 0.1


def supercell(d: ChargeDensity) -> ChargeDensity:
    """Return twice the cell along its shortest axis."""
    axis = int(np.argmin(np.linalg.norm(d.lattice, axis=1)))
    counts = np.where(np.arange(3) == axis, 2, 1)
    sites = np.concatenate([(d.frac_coords + np.eye(3)[axis] * k) / counts for k in (0, 1)])
    return ChargeDensity(np.tile(d.values, counts), d.lattice * counts[:, None], d.species * 2, sites, d.kind)


def shifted(d: ChargeDensity) -> ChargeDensity:
    """Return the cell with its origin elsewhere, by whole grid points."""
    steps = [n // 3 + 1 for n in d.values.shape]
    sites = (d.frac_coords + np.array(steps) / d.values.shape) % 1
    return ChargeDensity(np.roll(d.values, steps, (0, 1, 2)), d.lattice, d.species, sites, d.kind)


def permuted(d: ChargeDensity) -> ChargeDensity:
    """Return the cell with axes c, a, b."""
    order = [2, 0, 1]
    return ChargeDensity(d.values.transpose(order), d.lattice[order], d.species, d.frac_coords[:, order], d.kind)


def finer(d: ChargeDensity) -> ChargeDensity:
    """Return the same density on twice the points along each axis."""
    a, b, c = (2 * n for n in d.values.shape)
    return ChargeDensity(fourier_resample(d.values, (a, b, c)), d.lattice, d.species, d.frac_coords, d.kind)


def cells(d: ChargeDensity) -> tuple[ChargeDensity, ChargeDensity]:
    """Return the promolecular densities of the primitive and the conventional cell."""
    analyzer = SpacegroupAnalyzer(structure_of(d), symprec=0.01)
    return (
        promolecular_density(analyzer.get_primitive_standard_structure()),
        promolecular_density(analyzer.get_conventional_standard_structure()),
    )


def values(predictor: Predictor, densities: list[ChargeDensity]) -> np.ndarray:
    """Return predictions, (n, targets)."""
    found = predictor([to_compact(d) for d in densities])
    return np.array([[next(p.value for p in f.properties if p.target == t) for t in TARGETS] for f in found])


def change(found: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """Return relative changes, (n, targets)."""
    least = np.array([SMALLEST_ENERGY if "energy" in t else 1e-9 for t in TARGETS])
    return np.abs(found - expected) / np.maximum(np.abs(expected), least)


def table(
    changes: dict[str, np.ndarray], what: str, everything: str, wanted: tuple[int, int], *, digits: int
) -> list[str]:
    """Return a table of relative changes in percent, a row for each way, and a line on all of them.

    Args:
        changes: way to (n, targets).
        what: heads the column of ways.
        everything: begins the last line.
        wanted: most of the median and of the 95th percentile, in percent.
        digits: after the point.
    """

    def percent(share: float) -> str:
        return f"{100 * share:.{digits}f}"

    lines = ["", f"| {what} | " + " | ".join(TARGETS) + " |", "| --- |" + " --- |" * len(TARGETS)]
    for name, found in changes.items():
        row = (f"{percent(np.median(c))} / {percent(np.quantile(c, 0.95))}" for c in found.T)
        lines.append(f"| {name} | " + " | ".join(row) + " |")
    worst = np.concatenate(list(changes.values()))
    median, tail = percent(np.median(worst)), percent(np.quantile(worst, 0.95))
    wish = f"(wanted: {wanted[0]} % and {wanted[1]} %)"
    return [*lines, "", f"{everything}: median {median} %, 95th percentile {tail} % {wish}."]


def main() -> None:
    """Measure and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--densities", type=Path, required=True)
    parser.add_argument("--bundle", default="pretrained:")
    args = parser.parse_args()
    paths = sorted(args.densities.glob("*.npz"))
    densities = [read_npz(p) for p in paths[:: max(1, len(paths) // COUNT)][:COUNT]]
    predictor = Predictor.load(args.bundle)
    expected = values(predictor, densities)
    ways = {"supercell": supercell, "origin": shifted, "axes": permuted, "twice the grid": finer}
    changes = {name: change(values(predictor, [way(d) for d in densities]), expected) for name, way in ways.items()}
    primitive, conventional = (list(side) for side in zip(*(cells(d) for d in densities), strict=True))
    changes["primitive or conventional"] = change(values(predictor, conventional), values(predictor, primitive))
    head = [
        f"{len(densities)} crystals, bundle {predictor.version}.",
        "Change of a prediction, median / 95th percentile, in %.",
    ]
    lines = [*head, *table(changes, "the same crystal as", "All ways and properties", (1, 3), digits=3)]
    write_result("invariance", "One crystal, one answer", "\n".join(lines) + "\n", ("numpy", "lightgbm", "spglib"))


if __name__ == "__main__":
    main()
