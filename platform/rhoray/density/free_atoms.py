"""The packaged table of free atoms: what each element's valence density is before it meets other atoms.

An atom is a smooth density, given by its form factor (radial Fourier transform), plus a Gaussian that holds the
augmentation charge near the nucleus. Made by `rhoray.local.build_free_atoms` from the PAW sets of GPAW.
Source: J. J. Mortensen et al., Phys. Rev. B 71, 035109 (2005), doi:10.1103/PhysRevB.71.035109; gpaw-data.
"""

import functools
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float
from scipy.interpolate import CubicSpline

from rhoray.core.errors import Impossible

FREE_ATOMS = Path(__file__).parent / "free_atoms.npz"
# gpaw-data has no set for these. In their place stands the element whose valence shell is most alike: the group's next
# one, for actinides that with as many electrons outside the noble gas. What a model makes of it, it has learned so.
STAND_INS = {
    "Tc": "Re", "Po": "Te", "At": "I", "Fr": "Cs", "Ra": "Ba", "Ac": "La", "Th": "Hf", "Pa": "Ta", "U": "W",
    "Np": "Re", "Pu": "Os", "Am": "Eu", "Cm": "Gd",
}  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class FreeAtoms:
    """The table, one row per element.

    Attributes:
        elements: symbols.
        step: distance between wave numbers, 1/Angstrom.
        pieces: cubic pieces of each smooth form factor in electrons, highest power first, (elements, intervals, 4).
        smooth: electrons of the smooth part, (elements,).
        charge: electrons of the Gaussian, (elements,).
        width: w of the Gaussian exp(-(r/w)^2), Angstrom, (elements,).
        total: valence electrons, (elements,); smooth plus charge, but for a tail beyond 4.2 Angstrom.
        about: where the numbers come from.
    """

    elements: tuple[str, ...]
    step: float
    pieces: Float[np.ndarray, "elements intervals 4"]
    smooth: Float[np.ndarray, " elements"]
    charge: Float[np.ndarray, " elements"]
    width: Float[np.ndarray, " elements"]
    total: Float[np.ndarray, " elements"]
    about: str

    def rows(self, symbols: Iterable[str]) -> list[int]:
        """Return the table's row of each symbol, or of its stand-in.

        Raises:
            Impossible: the table lacks some of them; all are named.
        """
        found = {symbol: row for row, symbol in enumerate(self.elements)}
        found |= {symbol: found[other] for symbol, other in STAND_INS.items() if other in found}
        wanted = list(symbols)
        if missing := sorted(set(wanted) - found.keys()):
            raise Impossible(
                f"no free-atom density for {', '.join(missing)}, so no promolecular density; give a CHGCAR or cube "
                f"(the table covers {len(self.elements)} elements)"
            )
        return [found[symbol] for symbol in wanted]


@functools.cache
def free_atoms() -> FreeAtoms:
    """Return the packaged table, read once per process."""
    with np.load(FREE_ATOMS) as z:
        step, smooth = float(z["step"]), z["smooth"].astype(np.float64)
        # A form factor is even in the wave number: no slope at 0.
        spline = CubicSpline(step * np.arange(smooth.shape[1]), smooth, axis=1, bc_type=("clamped", "not-a-knot"))
        return FreeAtoms(
            elements=tuple(z["elements"].tolist()),
            step=step,
            pieces=np.ascontiguousarray(spline.c.transpose(2, 1, 0)),
            smooth=smooth[:, 0],
            charge=z["charge"],
            width=z["width"],
            total=z["total"],
            about=str(z["about"]),
        )
