"""Known compounds near a crystal's composition, with reference values, so that a prediction can be judged by eye.

How far apart two compositions are is the element mover's distance on the modified Pettifor scale: the work that turns
one into the other when an atom that moves one place on the scale costs its share of the formula.
Source: Hargreaves et al., Chem. Mater. 2020, 10.1021/acs.chemmater.0c03381; scale: Glawe et al., New J. Phys. 2016.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from jaxtyping import Float
from pymatgen.core import Composition, Element

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import composition_of, volume_per_atom
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest

PLACES = 118
# Compositions nearer than this are one composition, rounded.
SAME = 1e-9


@dataclass(frozen=True, slots=True)
class KnownCompound:
    """A compound whose properties are known from elsewhere.

    Attributes:
        material_id: the dataset's id.
        formula: reduced formula.
        crystal_system: such as `cubic`.
        space_group_number: 1 to 230.
        volume_per_atom: cubic Angstrom.
        values: reference values by target, in the target's unit.
        distance: element mover's distance to the crystal asked about; 0 means the same composition.
    """

    material_id: str
    formula: str
    crystal_system: str
    space_group_number: int
    volume_per_atom: float
    values: Mapping[str, float]
    distance: float


class KnownCompounds:
    """A table of compounds, ready to be searched; stateless between calls."""

    def __init__(self, rows: pd.DataFrame, labels: Sequence[str]) -> None:
        self._rows = rows
        self._labels = labels
        self._cumulative = np.stack([_cumulative(Composition(formula)) for formula in rows.formula])

    @classmethod
    def of_sample(cls) -> "KnownCompounds":
        """Return the compounds of the packaged sample, whose labels are CC0."""
        manifest = read_manifest(sample_uri())
        return cls(manifest.written, manifest.labels)

    def nearest(self, density: ChargeDensity, count: int) -> list[KnownCompound]:
        """Return the `count` nearest compounds, nearest first; of one composition, the one of nearest volume first."""
        distance = np.abs(self._cumulative - _cumulative(composition_of(density))).sum(axis=1)
        volume = np.abs(np.log(self._rows.volume_per_atom.to_numpy(float) / volume_per_atom(density)))
        order = np.lexsort((volume, np.round(distance / SAME)))[:count]
        return [self._compound(int(i), float(distance[i])) for i in order]

    def _compound(self, position: int, distance: float) -> KnownCompound:
        row = self._rows.iloc[position]
        return KnownCompound(
            material_id=row.material_id,
            formula=row.formula,
            crystal_system=row.crystal_system,
            space_group_number=int(row.space_group_number),
            volume_per_atom=float(row.volume_per_atom),
            values={label: float(row[label]) for label in self._labels if np.isfinite(row[label])},
            distance=distance,
        )


def _cumulative(composition: Composition) -> Float[np.ndarray, " places"]:
    """Return the share of atoms at or below each place of the scale: distances are sums of their differences."""
    shares = np.zeros(PLACES + 1)
    for symbol, amount in composition.get_el_amt_dict().items():
        shares[int(Element(symbol).mendeleev_no or PLACES)] += amount
    return np.cumsum(shares / shares.sum())
