"""`rhoray info`: what is in a file, and which checks it passes."""

import argparse
import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from pymatgen.core import Lattice

from rhoray.command.terminal import bold, paint, say
from rhoray.core.errors import InputRefused
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, reduced_formula, symmetry
from rhoray.density.decompress import compression_of, decompress
from rhoray.density.read import MOST_NEGATIVE, read_density_and_spin
from rhoray.density.sniff import sniff
from rhoray.density.valence import electron_count_warning, electron_range
from rhoray.inference.predictor import Predictor
from rhoray.store.codec import to_compact

# By the number of grids that follow the density.
SPINS = {
    None: "not told by this format",
    0: "no magnetisation in the file",
    1: "spin-polarised; the magnetisation is left unread",
    3: "non-collinear spins; the magnetisation is left unread",
}
KINDS = {"dft": "of a DFT code", "promolecular": "free atoms superposed (the file holds a crystal without a density)"}


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that may be wrong with a file.

    Attributes:
        name: what was looked at.
        passed: whether it is as expected.
        found: what there is, or what is wrong.
    """

    name: str
    passed: bool
    found: str


def run(args: argparse.Namespace) -> int:
    """Print what is in the file; 1 where it can't be used."""
    document = describe(args.file.read_bytes())
    document = {"file": str(args.file), **document}
    say(json.dumps(document) if args.json else _text(document))
    return 0 if "formula" in document else 1


def describe(content: bytes) -> dict[str, Any]:
    """Return what a file holds, as JSON has it; of one that can't be used only the checks.

    Args:
        content: the file, plain or compressed.

    Returns:
        format, compression, magnetisation_grids (None where the format has no place for them), formula, atoms, lattice
        (Angstrom, degrees), volume (cubic Angstrom), mass_density (g/cm3), space_group_number,
        grid, electrons, highest and lowest density (e/A3), kind, checks.
    """
    facts: dict[str, Any] = {"bytes": len(content), "compression": compression_of(content)}
    try:
        plain = decompress(content)
        facts["format"] = sniff(plain)
        density, facts["magnetisation_grids"] = read_density_and_spin(plain)
    except InputRefused as error:
        return {**facts, "checks": [asdict(Check(f"readable ({error.code})", False, str(error)))]}
    return {**facts, **_facts(density), "checks": [asdict(check) for check in _checks(density)]}


def _facts(density: ChargeDensity) -> dict[str, Any]:
    lattice, found = Lattice(density.lattice), symmetry(density)
    return {
        "kind": density.kind,
        "formula": reduced_formula(density),
        "atoms": density.n_atoms,
        "species": {symbol: density.species.count(symbol) for symbol in dict.fromkeys(density.species)},
        "lattice": {
            **{name: round(float(x), 5) for name, x in zip("abc", lattice.abc, strict=True)},
            **{name: round(float(x), 4) for name, x in zip(("alpha", "beta", "gamma"), lattice.angles, strict=True)},
        },
        "volume": density.volume,
        "mass_density": mass_density(density),
        "crystal_system": found.crystal_system,
        "space_group_number": found.space_group_number,
        "grid": list(density.values.shape),
        "electrons": density.n_electrons,
        "highest": float(density.values.max()),
        "lowest": float(density.values.min()),
    }


def _checks(density: ChargeDensity) -> list[Check]:
    """Return the checks of a density that was read; reading itself has refused what is impossible."""
    odd, expected = electron_count_warning(density), electron_range(density)
    negative = float(abs(density.values.sum(where=density.values < 0)) / density.values.sum())
    spacing = np.linalg.norm(density.lattice, axis=1) / np.array(density.values.shape)
    prediction = Predictor.load("pretrained:")(to_compact(density))
    others = [reason for reason in prediction.reasons if reason != odd]
    return [
        Check("readable", True, f"grid of {' x '.join(map(str, density.values.shape))}, every {spacing.max():.3f} A"),
        Check("electrons fit the atoms", odd is None, odd or f"{density.n_electrons:.4f}, expected {expected}"),
        Check("hardly any negative charge", True, f"{100 * negative:.2f} %, at most {100 * MOST_NEGATIVE:.0f} %"),
        Check("known to the packaged model", not others, "; ".join(others) or "elements, cell and density are"),
    ]


def _text(document: dict[str, Any]) -> str:
    lines = [bold(f"{document['file']}")]
    if "formula" in document:
        lines += [f"  {name:<14}{value}" for name, value in _shown(document)]
    for check in document["checks"]:
        mark = paint("passed", "green") if check["passed"] else paint("FAILED", "red")
        lines.append(f"  {mark}  {check['name']}: {check['found']}")
    return "\n".join(lines)


def _shown(document: dict[str, Any]) -> list[tuple[str, str]]:
    lattice, counts = document["lattice"], document["species"]
    packed = f", {document['compression']}" if document["compression"] else ""
    axes = ", ".join(f"{lattice[name]:.4g}" for name in "abc")
    angles = ", ".join(f"{lattice[name]:.4g}" for name in ("alpha", "beta", "gamma"))
    return [
        ("format", f"{document['format']}{packed}, {document['bytes']:,} bytes"),
        ("density", KINDS[document["kind"]]),
        ("spin", SPINS[document["magnetisation_grids"]]),
        (
            "crystal",
            f"{document['formula']}, {document['crystal_system']}, space group {document['space_group_number']}",
        ),
        ("cell", f"{document['atoms']} atoms: {' '.join(f'{symbol}{n}' for symbol, n in counts.items())}"),
        ("lattice", f"{axes} A; {angles} degrees"),
        ("volume", f"{document['volume']:.4g} A^3, {document['mass_density']:.4g} g/cm^3"),
        ("grid", " x ".join(map(str, document["grid"]))),
        ("electrons", f"{document['electrons']:.4f}"),
        ("values", f"{document['lowest']:.4g} to {document['highest']:.4g} e/A^3"),
    ]
