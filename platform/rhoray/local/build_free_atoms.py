"""Make the packaged table of free atoms from GPAW's PAW sets; run once per release of gpaw-data, with GPAW installed.

For each element, GPAW's superposition adds two things: the smooth valence density of its bound partial waves (cut off
at 8 Bohr) and a Gaussian with the charge that the smooth part lacks near the nucleus. The table holds the Fourier
transform of the first, and charge and width of the second.
"""

import argparse
import importlib.metadata
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from pymatgen.core import Element
from scipy.integrate import simpson

from rhoray.density.cube import BOHR
from rhoray.density.free_atoms import FREE_ATOMS

# Wave numbers in 1/Angstrom. No smooth part has more than 2e-4 electrons beyond the last one.
STEP = 0.05
LAST = 32.0
RADIUS = 8.0  # Bohr; GPAW's basis functions end here
POINTS = 3201
LICENCE = "GPL-3.0-or-later"


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=FREE_ATOMS)
    args = parser.parse_args()
    symbols = [Element.from_Z(z).symbol for z in range(1, 119)]
    atoms = {symbol: atom for symbol in symbols if (atom := _free_atom(symbol))}
    source = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("gpaw", "gpaw-data"))
    smooth, charge, width, total = (
        np.array([atom[name] for atom in atoms.values()]) for name in ("smooth", "charge", "width", "total")
    )
    np.savez_compressed(
        args.out,
        about=f"Free-atom valence densities computed from the default PBE PAW sets of {source} ({LICENCE})",
        elements=list(atoms),
        step=STEP,
        smooth=smooth,
        charge=charge,
        width=width,
        total=total,
    )
    print(f"{len(atoms)} elements, {args.out.stat().st_size} bytes; none: {', '.join(set(symbols) - set(atoms))}")


def _free_atom(symbol: str) -> dict[str, Any] | None:
    """Return form factor, Gaussian and electron count of one element, None where there is no PAW set."""
    from gpaw.setup import create_setup  # noqa: PLC0415 - GPAW may be absent
    from gpaw.xc import XC  # noqa: PLC0415

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            setup = create_setup(symbol, xc=XC("PBE"))
    except FileNotFoundError:
        return None
    shape = setup.data.shape_function
    assert shape["type"] == "gauss", f"{symbol}: augmentation of type {shape['type']}"
    r = np.linspace(0.0, RADIUS, POINTS)
    density = np.zeros(POINTS)
    charge = 0.0
    shells = list(zip(setup.n_j, setup.l_j, strict=True))
    for shell, spline in zip(setup.basis.bf_j, setup.basis.tosplines(), strict=True):
        j = shells.index((shell.n, shell.l))
        occupation = setup.f_j[j]
        first = sum(2 * degree + 1 for degree in setup.l_j[:j])
        # An open shell is spread evenly over its 2l + 1 orbitals, so the atom is round.
        lacking = np.mean([setup.Delta_iiL[i, i, 0] for i in range(first, first + 2 * shell.l + 1)])
        charge += occupation * float(lacking) * np.sqrt(4 * np.pi)
        density += occupation * (spline.map(r) * r**shell.l) ** 2 / (4 * np.pi)
    waves = np.arange(0.0, LAST + STEP / 2, STEP) * BOHR
    smooth = [simpson(4 * np.pi * r**2 * density * np.sinc(k * r / np.pi), x=r) for k in waves]
    return {
        "smooth": np.array(smooth, np.float32),
        "charge": charge,
        "width": shape["rc"] * BOHR,
        "total": float(setup.Nv),
    }


if __name__ == "__main__":
    main()
