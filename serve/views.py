"""What the page shows of a crystal beside its numbers: atoms, densities on a small grid, known compounds nearby."""

import base64
import functools

import numpy as np
from pydantic import BaseModel, Field, FiniteFloat
from pymatgen.core import Element

from rhoray.core.targets import get_target
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import symmetry
from rhoray.density.resample import fourier_resample
from rhoray.inference.neighbours import KnownCompound, KnownCompounds
from rhoray.inference.reconstruct import Shape
from serve.schemas import PredictResponse

# Points along the longest axis: enough for a smooth surface, small enough to be sent and drawn at once.
VIEW_POINTS = 48
FEWEST_POINTS = 12
NUM_NEAREST = 6
# Of elements without a tabulated one: noble gases and the heaviest.
DEFAULT_RADIUS = 1.5
SOURCE = "PBE, M. de Jong et al., Sci. Data 2, 150009 (2015), CC0"


class Atom(BaseModel):
    """One atom of the cell."""

    element: str = Field(examples=["Li"])
    position: tuple[FiniteFloat, FiniteFloat, FiniteFloat] = Field(
        description="in units of the lattice vectors", examples=[(0.5, 0.5, 0.5)]
    )
    radius: FiniteFloat = Field(description="the element's atomic radius, Angstrom", examples=[1.45])


class Reference(BaseModel):
    """A known value of one property."""

    target: str = Field(examples=["bulk_modulus"])
    value: FiniteFloat = Field(examples=[69.88])
    unit: str = Field(examples=["GPa"])


class Known(BaseModel):
    """A compound with reference values."""

    material_id: str = Field(examples=["mp-1138"])
    formula: str = Field(examples=["LiF"])
    crystal_system: str = Field(examples=["cubic"])
    space_group_number: int = Field(examples=[225])
    volume_per_atom: FiniteFloat = Field(description="cubic Angstrom", examples=[8.5])
    distance: FiniteFloat = Field(
        description="element mover's distance of the compositions; 0: the same composition", examples=[0.0]
    )
    references: list[Reference]
    source: str = Field(description="where the values come from", examples=[SOURCE])


class Grid(BaseModel):
    """A density on a regular grid of the cell, electrons per cubic Angstrom."""

    shape: tuple[int, int, int] = Field(description="points along a, b, c", examples=[(48, 48, 48)])
    values: str = Field(description="base64 of little-endian float32, the last axis fastest", examples=["AACAPw=="])


class ViewResponse(PredictResponse):
    """A prediction, and what there is to look at."""

    crystal_system: str = Field(examples=["cubic"])
    space_group_number: int = Field(description="1 to 230, 0: none found", examples=[225])
    lattice: list[list[FiniteFloat]] = Field(
        description="lattice vectors as rows, Angstrom", examples=[[[0.0, 2.0, 2.0], [2.0, 0.0, 2.0], [2.0, 2.0, 0.0]]]
    )
    atoms: list[Atom]
    density: Grid
    reconstruction: Grid | None = Field(description="decoded from the latent; null where the model can't")
    density_error: FiniteFloat | None = Field(
        description="misplaced charge of the reconstruction over the charge", examples=[0.0014]
    )
    nearest: list[Known] = Field(description="known compounds of similar composition, nearest first")


def view_shape(density: ChargeDensity) -> Shape:
    """Return a grid of even spacing in space with VIEW_POINTS along the longest axis."""
    lengths = np.linalg.norm(density.lattice, axis=1)
    a, b, c = (max(FEWEST_POINTS, round(float(n))) for n in VIEW_POINTS * lengths / lengths.max())
    return a, b, c


def grid_of(values: np.ndarray, shape: Shape) -> Grid:
    """Return a density, resampled to `shape`, in the form in which it is sent."""
    resampled = fourier_resample(values.astype(np.float64), shape, taper=True)
    return Grid(shape=shape, values=base64.b64encode(resampled.astype("<f4").tobytes()).decode("ascii"))


def view_of(
    prediction: PredictResponse,
    density: ChargeDensity,
    decoded: tuple[np.ndarray, float] | None,
    known: KnownCompounds,
) -> ViewResponse:
    """Return all that the page shows.

    Args:
        prediction: the crystal's properties.
        density: as it was read.
        decoded: the reconstruction on the grid of `density`, and its error; None where there is none.
        known: where to look for compounds nearby.
    """
    shape, found = view_shape(density), symmetry(density)
    return ViewResponse(
        **prediction.model_dump(),
        crystal_system=found.crystal_system,
        space_group_number=found.space_group_number,
        lattice=density.lattice.tolist(),
        atoms=[
            Atom(element=element, position=(a, b, c), radius=_radius(element))
            for element, (a, b, c) in zip(density.species, (density.frac_coords % 1.0).tolist(), strict=True)
        ],
        density=grid_of(density.values, shape),
        reconstruction=None if decoded is None else grid_of(decoded[0], shape),
        density_error=None if decoded is None else decoded[1],
        nearest=[_known(compound) for compound in known.nearest(density, NUM_NEAREST)],
    )


@functools.cache
def _radius(element: str) -> float:
    return float(Element(element).atomic_radius or DEFAULT_RADIUS)


def _known(compound: KnownCompound) -> Known:
    return Known(
        material_id=compound.material_id,
        formula=compound.formula,
        crystal_system=compound.crystal_system,
        space_group_number=compound.space_group_number,
        volume_per_atom=compound.volume_per_atom,
        distance=compound.distance,
        references=[Reference(target=t, value=v, unit=get_target(t).unit) for t, v in compound.values.items()],
        source=SOURCE,
    )
