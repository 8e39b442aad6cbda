"""Which inputs the domain check calls foreign: spoilt densities, molecules, new elements; and which it should not.

    python benchmarks/bench_domain.py --features features.npz

The domain is that of the packaged bundle, fitted to split `train` alone (features by rhoray.local.training_table).
Ordinary are the crystals of split `val`, from their structures and as PBE densities, crystals as other codes and
potentials write them, and VASP's own files. What is spoilt are PBE densities of `val`.
"""

import argparse
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from _crystals import SHARED, promolecular_of
from _foreign import (
    half_empty,
    halved,
    molecules,
    other_crystal,
    pure_noise,
    scaled_noise,
    shuffled,
    with_element,
    with_noise,
)
from _results import write_result
from pymatgen.core import Composition

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.valence import electron_count_warning
from rhoray.features.block import feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.inference.predictor import read_input
from rhoray.local.build_pretrained import KINDS, domain_labels, only_structures
from rhoray.local.npz import read_npz
from rhoray.local.training_table import read_table
from rhoray.models.domain import Domain, fit_domain
from rhoray.store.codec import to_compact

COUNT = 100
BLOCKS = ("magpie", "cell", "bonds", "superposed")
NO_LATENT = np.zeros((16, 16, 16, 16))
PADDINGS = (2.5, 3.0, 4.0, 5.0)
DIALECTS = ("ref", "alt", "ae", "soft")
HELD_OUT = ("Ru", "Te", "Mn", "Mg", "Pd")


def pbe_densities(split: "pd.Series[str]", name: str) -> Iterator[ChargeDensity]:
    """Yield the PBE densities of a split."""
    for path in sorted((SHARED / "data" / "densities").glob("*.npz")):
        if split.get(path.stem) == name:
            yield read_npz(path)


class Features:
    """Features of a density's structure; what is done to a density leaves them as they are."""

    def __init__(self) -> None:
        self._known: dict[tuple[object, ...], np.ndarray] = {}

    def __call__(self, density: ChargeDensity) -> np.ndarray:
        """Return the row of features."""
        key = (density.species, density.lattice.tobytes(), density.frac_coords.tobytes())
        if key not in self._known:
            self._known[key] = feature_matrix(get_blocks(BLOCKS), [density], [NO_LATENT])[0]
        return self._known[key]


features_of = Features()


def judge(domain: Domain, densities: Iterable[ChargeDensity]) -> tuple[int, int, str]:
    """Return how many there are, how many are foreign, and the reasons in the order of their number."""
    count, foreign, why = 0, 0, Counter[str]()
    for density in densities:
        stored = to_compact(density)
        reasons = list(domain.reasons(stored, features_of(stored)))
        odd = electron_count_warning(stored)
        reasons += [odd] if odd else []
        count, foreign = count + 1, foreign + bool(reasons)
        why.update({_short(reason) for reason in reasons})
    return count, foreign, ", ".join(f"{reason} {n}" for reason, n in why.most_common(4))


def _short(reason: str) -> str:
    known = {
        "the model has seen": "element",
        "between the atoms": "level",
        "electrons, expected": "electron count",
        "of the charge": "misplaced",
        "noisy": "noise",
        "vacuum": "vacuum",
        "features lie outside": "span",
        "its features lie": "distance",
        "volume per atom": "volume",
        "mass density": "mass density",
    }
    return next((short for part, short in known.items() if part in reason), reason)


def spoilt(rng: np.random.Generator) -> dict[str, Callable[[ChargeDensity], ChargeDensity]]:
    """Return what is done to each PBE density."""
    return {
        "noise of 5 % of the mean density": lambda d: with_noise(d, 0.05, rng),
        "noise of 10 % of the mean density": lambda d: with_noise(d, 0.1, rng),
        "noise of 30 % of the mean density": lambda d: with_noise(d, 0.3, rng),
        "each point off by 5 % of itself": lambda d: scaled_noise(d, 0.05, rng),
        "each point off by 10 % of itself": lambda d: scaled_noise(d, 0.1, rng),
        "each point off by 20 % of itself": lambda d: scaled_noise(d, 0.2, rng),
        "noise alone": lambda d: pure_noise(d, rng),
        "its points shuffled": lambda d: shuffled(d, rng),
        "half the electrons": halved,
        "one half of the cell emptied": half_empty,
    }


def elements(formulas: Iterable[str]) -> list[str]:
    """Return the symbols of some formulas."""
    return sorted({e.symbol for formula in formulas for e in Composition(formula).elements})


def main() -> None:
    """Judge every kind of input and write the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--features", type=Path, required=True, help="from rhoray.local.training_table")
    args = parser.parse_args()
    table, rng = only_structures(read_table(args.features)), np.random.default_rng(0)
    materials = pd.read_parquet(SHARED / "data" / "materials.parquet").set_index("material_id")
    split = materials.split.reindex(table.crystals.material_id).to_numpy(str)
    labels, train = domain_labels(table.labels), np.flatnonzero(split == "train")
    formulas, x = table.crystals.formula.to_numpy(str), table.columns(labels)
    domain = fit_domain(elements(formulas[train]), labels, x[train], KINDS)
    val = [promolecular_of(materials.poscar[i]) for i in table.crystals.material_id[split == "val"]]
    some = list(pbe_densities(materials.split, "val"))[:COUNT]
    cases: dict[str, Iterable[ChargeDensity]] = {
        "ordinary: crystals of val from their structure": val,
        "ordinary: PBE densities of val": some,
        "ordinary: PBE densities of train": pbe_densities(materials.split, "train"),
        "ordinary: VASP's own CHGCARs": [read_input(p.read_bytes()) for p in sorted((SHARED / "vasp").iterdir())],
    }
    for name in DIALECTS:
        paths = sorted((SHARED / "data" / "dialects").glob("*.npz"))
        cases[f"ordinary: dialect {name}"] = [read_npz(path, name) for path in paths]
    cases |= {f"foreign: {name}": map(spoil, some) for name, spoil in spoilt(rng).items()}
    cases["foreign: the density of another crystal"] = map(other_crystal, some, some[1:])
    cases["foreign: a molecule with 2.5 to 5 A around it"] = molecules(PADDINGS)
    lines = ["| input | how many | called foreign | why (several reasons each) |", "| --- | --- | --- | --- |"]
    lines += [row(name, *judge(domain, densities)) for name, densities in cases.items()]
    for symbol in HELD_OUT:
        without = train[[symbol not in Composition(f) for f in formulas[train]]]
        known = fit_domain(elements(formulas[without]), labels, x[without], KINDS)
        new = [with_element(d, symbol) for d in some[: COUNT // len(HELD_OUT)]]
        lines.append(row(f"foreign: {symbol}, when no training crystal has it", *judge(known, new)))
    write_result("domain", "Which inputs are called foreign", "\n".join(lines) + "\n", ("numpy", "scipy", "pymatgen"))


def row(name: str, count: int, foreign: int, why: str) -> str:
    """Return a line of the table."""
    return f"| {name} | {count} | {foreign} ({foreign / count:.0%}) | {why} |"


if __name__ == "__main__":
    main()
