"""How many electrons a density of some composition may have: codes and pseudopotentials disagree about valence.

For every element the fewest are those of its outermost shell, with the d shell that a transition metal is filling: no
set in wide use has fewer. The most are those with all of the shell below as semicore, and the f shell below that.
All-electron densities have Z.
"""

import functools
from collections import Counter
from dataclasses import dataclass

from pymatgen.core import Element

from rhoray.core.errors import Impossible
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import composition_of
from rhoray.density.cube import BOHR

# A charged cell lacks or has a few electrons more than its atoms; never a large share of the valence of a small cell.
LARGEST_CHARGE = 4.0
LARGEST_CHARGE_SHARE = 0.25
# Grid sums of all-electron densities miss part of the cusps at the nuclei.
ALL_ELECTRON_SHARE = 0.9
# Beyond these a density is refused: below so much of the fewest, above so much of all electrons.
FEWEST_SHARE = 0.5
MOST_SHARE = 1.2


@dataclass(frozen=True, slots=True)
class ElectronRange:
    """Plausible electron counts of a cell.

    Attributes:
        fewest: outermost shells only.
        most: with every semicore shell that pseudopotentials treat as valence.
        everything: all electrons of the neutral atoms.
    """

    fewest: int
    most: int
    everything: int

    @property
    def tolerance(self) -> float:
        """Electrons that a cell may be charged by."""
        return min(LARGEST_CHARGE, LARGEST_CHARGE_SHARE * self.fewest)

    def holds(self, count: float) -> bool:
        """Return whether a count is one of valence electrons or of all electrons."""
        valence = self.fewest - self.tolerance <= count <= self.most + self.tolerance
        return valence or ALL_ELECTRON_SHARE * self.everything <= count <= self.everything + self.tolerance

    def is_absurd(self, count: float) -> bool:
        """Return whether no set of potentials and no charge explains a count."""
        possible = FEWEST_SHARE * self.fewest <= count <= MOST_SHARE * self.everything
        return not possible and not self.holds(count)

    def __str__(self) -> str:
        valence = f"between {self.fewest} and {self.most}"
        return valence if self.most == self.everything else f"{valence} (or {self.everything}, all electrons)"


def electron_range(density: ChargeDensity) -> ElectronRange:
    """Return the plausible electron counts of a density's composition.

    Raises:
        Impossible: a species is no element.
    """
    counts = {element.symbol: int(n) for element, n in composition_of(density).items()}
    fewest, most, everything = (sum(n * _element_range(symbol)[i] for symbol, n in counts.items()) for i in range(3))
    return ElectronRange(fewest, most, everything)


@functools.cache
def _element_range(symbol: str) -> tuple[int, int, int]:
    """Return the fewest, the most and all electrons of an element, from its configuration.

    Example:
        >>> [_element_range(symbol) for symbol in ("H", "Li", "O", "Fe", "Ga", "Nd", "W")]
        [(1, 1, 1), (1, 3, 3), (6, 8, 8), (8, 16, 26), (3, 21, 31), (2, 14, 60), (6, 28, 74)]
    """
    element = Element(symbol)
    row = element.row - 2 if element.row > 7 else element.row  # pymatgen draws the f block as rows 8 and 9
    try:
        shells = element.full_electronic_structure
    except KeyError:  # the last few elements, of which nobody has a density
        return 1, element.Z, element.Z
    outermost = sum(n for level, orbital, n in shells if level == row and orbital in "sp")
    fewest = int(element.group) if element.block == "d" else outermost
    deep_f = sum(n for level, orbital, n in shells if level == row - 2 and orbital == "f")
    return fewest, sum(n for level, _, n in shells if level >= row - 1) + deep_f, element.Z


def electron_count_warning(density: ChargeDensity) -> str | None:
    """Return a sentence if the electron count does not fit the composition, None if it does.

    A count may be off for a good reason, a strongly charged cell or an odd potential; the density is then used, and
    the sentence belongs beside every result.

    Raises:
        Impossible: a species is no element.
    """
    expected, found = electron_range(density), density.n_electrons
    if expected.holds(found):
        return None
    formula = "".join(f"{symbol}{n}" for symbol, n in Counter(density.species).items())
    return f"{found:.4g} electrons, expected {expected} for {formula}; {_likely_cause(density, expected)}"


def check_electron_count(density: ChargeDensity) -> None:
    """Refuse a density whose electron count nothing explains.

    Raises:
        Impossible: less than half of the fewest valence electrons, or a fifth more than all electrons; or a species
            is no element.
    """
    if electron_range(density).is_absurd(density.n_electrons):
        raise Impossible(electron_count_warning(density) or "")


def _likely_cause(density: ChargeDensity, expected: ElectronRange) -> str:
    """Return the mistakes that would explain the count, as questions."""
    volume, points = density.volume, density.values.size
    causes = {
        "rho instead of rho x V": volume,
        "e/bohr^3 instead of rho x V": volume / BOHR**3,
        "electrons per voxel instead of rho x V": points,
        "rho x V multiplied by V twice": 1 / volume,
        "e/A^3 in a cube file, instead of e/bohr^3": BOHR**3,
        "rho x V in a cube file, instead of e/bohr^3": BOHR**3 / volume,
    }
    fitting = [cause for cause, factor in causes.items() if expected.holds(density.n_electrons * factor)]
    if density.n_electrons < expected.fewest:
        fitting = [*fitting[:2], "a spin density, PARCHG or part of the charge"]
    if not fitting:
        return "check that the header's atoms and the density are of the same cell"
    return f"is it {', or '.join(fitting[:3])}? Write the total density: rho x V in a CHGCAR, e/bohr^3 in a cube"
