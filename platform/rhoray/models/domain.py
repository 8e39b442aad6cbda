"""Does the model know such crystals? Elements and spans it has seen, what a density must look like, and distance.

Three kinds of reasons, in this order: what is named (an element, a volume per atom), what is wrong with the density
itself (`density.likeness`), and how far the crystal lies from the nearest of the training set in the space of features.
"""

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from rhoray.density.charge_density import ChargeDensity, DensityKind
from rhoray.density.likeness import likeness, vacuum_share

Features = Float[np.ndarray, " f"]
Matrix = Float[np.ndarray, "n f"]

# A crystal may leave the span of a few of its hundreds of numbers by chance.
MARGIN = 0.1
TOLERATED_SHARE = 0.1
# Numbers that a person can judge, whichever block holds them; each must lie within the span by itself.
NAMED = {"volume_per_atom": "volume per atom in A^3", "mass_density": "mass density in g/cm^3"}

# Chosen on every ninth PBE density and on 20 crystals in three other dialects of codes and potentials: of those none
# goes beyond -0.37 to 0.17 in level, 0.23 in misplaced, 0.018 in noise. Half the electrons gives -0.58 or less, points
# that are off by 5 % of themselves a noise of 0.022 or more in 98 of 100.
LOWEST_LEVEL = -0.48
HIGHEST_LEVEL = 0.25
MOST_MISPLACED = 0.27
MOST_NOISE = 0.019
# The emptiest of the 5,000 crystals known to us has 0.11, a molecule in a cell with 4 A around it 0.4 and more.
MOST_VACUUM = 0.2

# Blocks whose columns another encoder would change.
ENCODED = ("latent.", "latent_volume.")
COMPONENTS = 16
CLIP = 8.0
# Training crystals that stand for all: each next one is the farthest from those before.
LANDMARKS = 500
CROSS_FITS = 5
# Of the training crystals' own distances, each measured without it.
ORDINARY = 0.99
SLACK = 1.25
FEWEST_FOR_DISTANCE = 50
TINY = 1e-9


@dataclass(frozen=True, slots=True)
class Distance:
    """The distance to the nearest training crystal, over the principal components of robustly scaled features.

    Not that to their centre: elements and other small groups lie far from it, and are known all the same. Each
    component counts in units of its deviation (Mahalanobis).

    Attributes:
        labels: feature columns it looks at.
        centre: median of each.
        scale: spread of each, from its quartiles.
        mean: of each scaled and clipped column.
        axes: components, one row each, divided by their deviation.
        limit: distances above are foreign.
        landmarks: training crystals in these components; older bundles have the centre alone.
    """

    labels: tuple[str, ...]
    centre: tuple[float, ...]
    scale: tuple[float, ...]
    mean: tuple[float, ...]
    axes: tuple[tuple[float, ...], ...]
    limit: float
    landmarks: tuple[tuple[float, ...], ...] = ()

    def measure(self, features: Matrix) -> Float[np.ndarray, " n"]:
        """Return distances of rows whose columns are `labels`, a root mean square over components."""
        here = self.project(features)
        known = np.array(self.landmarks) if self.landmarks else np.zeros((1, here.shape[1]))
        return KDTree(known).query(here)[0] / np.sqrt(here.shape[1])

    def project(self, features: Matrix) -> Float[np.ndarray, "n c"]:
        """Return the components of rows whose columns are `labels`."""
        scaled = np.clip((features - np.array(self.centre)) / np.array(self.scale), -CLIP, CLIP)
        return (np.nan_to_num(scaled) - np.array(self.mean)) @ np.array(self.axes).T


@dataclass(frozen=True, slots=True)
class Domain:
    """What the training crystals spanned.

    Attributes:
        elements: symbols that occurred.
        labels: feature columns.
        lowest: smallest training value per column.
        highest: largest training value per column.
        kinds: of the training densities. A promolecular density lies some 4 % of its electrons away from the DFT one,
            far enough to nearly double the error of a bulk modulus.
        distance: None when there were too few crystals to measure one.
    """

    elements: tuple[str, ...]
    labels: tuple[str, ...]
    lowest: tuple[float, ...]
    highest: tuple[float, ...]
    kinds: tuple[DensityKind, ...] = ("dft",)
    distance: Distance | None = None

    def reasons(self, density: ChargeDensity, features: Features) -> tuple[str, ...]:
        """Return why a crystal is foreign; empty when it is not."""
        return (*self._named(density, features), *_of_density(density), *self._of_features(features))

    def _named(self, density: ChargeDensity, features: Features) -> Iterator[str]:
        foreign = sorted(set(density.species) - set(self.elements))
        if foreign:
            yield f"the model has seen no compound of {', '.join(foreign)}"
        if density.kind not in self.kinds:
            yield f"this density is {density.kind}, the model was trained on {' and '.join(self.kinds)} ones"
        outside = self._outside(features)
        seen: set[str] = set()
        for i, label in enumerate(self.labels):
            name = label.split(".")[-1]
            if name in NAMED and name not in seen and outside[i]:
                seen.add(name)
                span = f"{self.lowest[i]:.3g} to {self.highest[i]:.3g}"
                yield f"{NAMED[name]} is {features[i]:.3g}, in training {span}"

    def _of_features(self, features: Features) -> Iterator[str]:
        outside = self._outside(features)
        if outside.mean() > TOLERATED_SHARE:
            yield f"{outside.mean():.0%} of its features lie outside the training crystals' span"
        if self.distance is None:
            return
        column = {label: i for i, label in enumerate(self.labels)}
        found = float(self.distance.measure(features[[column[label] for label in self.distance.labels]][None])[0])
        if found > self.distance.limit:
            yield f"its features lie {found:.2g} from the nearest training crystal, ordinary {self.distance.limit:.2g}"

    def _outside(self, features: Features) -> np.ndarray:
        low, high = np.array(self.lowest), np.array(self.highest)
        margin = MARGIN * (high - low)
        return (features < low - margin) | (features > high + margin) | ~np.isfinite(features)

    def without(self, blocks: Sequence[str]) -> "Domain":
        """Return the domain without the columns of some blocks."""
        own = [i for i, label in enumerate(self.labels) if label.split(".")[0] not in blocks]
        return replace(
            self,
            labels=tuple(self.labels[i] for i in own),
            lowest=tuple(self.lowest[i] for i in own),
            highest=tuple(self.highest[i] for i in own),
        )

    def to_json(self) -> dict[str, Any]:
        """Return plain lists and numbers, of four digits: a span is no sharper than the crystals it was seen on."""
        return {name: rounded(part) for name, part in asdict(self).items()}


def rounded(value: object) -> object:
    """Return nested lists and numbers with every float to four digits."""
    if isinstance(value, dict):
        return {name: rounded(part) for name, part in value.items()}
    if isinstance(value, list | tuple):
        return [rounded(part) for part in value]
    return float(f"{value:.4g}") if isinstance(value, float) else value


def _of_density(density: ChargeDensity) -> Iterator[str]:
    """Say what is wrong with a density whatever the model has seen."""
    empty = vacuum_share(density)
    if empty > MOST_VACUUM:
        yield f"{empty:.0%} of the cell is vacuum, expected a crystal, not a molecule or a slab"
    found = likeness(density)
    if found is None or empty > MOST_VACUUM:
        return
    if not LOWEST_LEVEL <= found.level <= HIGHEST_LEVEL:
        yield (
            f"between the atoms there is {np.exp(found.level):.2g} times the charge of free atoms, expected "
            f"{np.exp(LOWEST_LEVEL):.2g} to {np.exp(HIGHEST_LEVEL):.2g}"
        )
    if found.misplaced > MOST_MISPLACED:
        yield f"{found.misplaced:.0%} of the charge between the atoms is not where these atoms have it"
    if found.noise > MOST_NOISE:
        yield f"the density is noisy: {found.noise:.1%} from point to point, expected less than {MOST_NOISE:.1%}"


def domain_from_json(raw: dict[str, Any]) -> Domain:
    """Invert `Domain.to_json`."""
    elements, labels, lowest, highest = (tuple(raw[name]) for name in ("elements", "labels", "lowest", "highest"))
    # Bundles from before there were promolecular densities say nothing of kinds, older ones nothing of distances.
    kinds, distance = tuple(raw.get("kinds", ("dft",))), raw.get("distance")
    if distance is not None:
        vectors = {name: tuple(distance[name]) for name in ("labels", "centre", "scale", "mean")}
        axes, landmarks = (tuple(map(tuple, distance.get(name, ()))) for name in ("axes", "landmarks"))
        distance = Distance(**vectors, axes=axes, limit=distance["limit"], landmarks=landmarks)
    return Domain(elements, labels, lowest, highest, kinds, distance)


def fit_domain(
    elements: Sequence[str],
    labels: Sequence[str],
    features: Matrix,
    kinds: Sequence[DensityKind] = ("dft",),
) -> Domain:
    """Return the span of training crystals, and a distance to them where there are enough."""
    return Domain(
        tuple(sorted(set(elements))),
        tuple(labels),
        tuple(features.min(axis=0).tolist()),
        tuple(features.max(axis=0).tolist()),
        tuple(sorted(set(kinds))),
        fit_distance(labels, features) if len(features) >= FEWEST_FOR_DISTANCE else None,
    )


def fit_distance(labels: Sequence[str], features: Matrix) -> Distance | None:
    """Return the distance whose limit leaves ordinary crystals inside; None if all columns are an encoder's.

    The limit comes from distances that are measured on crystals left out of components and landmarks.
    """
    own = [i for i, label in enumerate(labels) if not label.startswith(ENCODED)]
    if not own:
        return None
    names, values = tuple(labels[i] for i in own), features[:, own]
    fold = np.random.default_rng(0).permutation(len(values)) % CROSS_FITS
    left_out = np.concatenate([_fit(names, values[fold != k]).measure(values[fold == k]) for k in range(CROSS_FITS)])
    return replace(_fit(names, values), limit=SLACK * float(np.quantile(left_out, ORDINARY)))


def _fit(labels: tuple[str, ...], values: Matrix) -> Distance:
    centre = np.median(values, axis=0)
    low, high = np.quantile(values, (0.25, 0.75), axis=0)
    spread = np.where(high - low > TINY, high - low, np.maximum(values.std(axis=0), TINY))
    scaled = np.clip((values - centre) / spread, -CLIP, CLIP)
    mean = scaled.mean(axis=0)
    _, singular, axes = np.linalg.svd(scaled - mean, full_matrices=False)
    kept = min(COMPONENTS, int((singular > TINY * singular[0]).sum()))
    deviation = singular[:kept] / np.sqrt(len(values))
    found = Distance(
        labels,
        tuple(centre.tolist()),
        tuple(spread.tolist()),
        tuple(mean.tolist()),
        tuple(tuple(axis) for axis in (axes[:kept] / deviation[:, None]).tolist()),
        limit=np.inf,
    )
    return replace(found, landmarks=tuple(map(tuple, _landmarks(found.project(values)).tolist())))


def _landmarks(points: Matrix) -> Float[np.ndarray, "m f"]:
    """Return a few points that are near all: Gonzalez, Theoretical Computer Science 38, 293 (1985)."""
    chosen = [int((points**2).sum(axis=1).argmin())]
    apart = np.full(len(points), np.inf)
    while len(chosen) < min(LANDMARKS, len(points)):
        apart = np.minimum(apart, np.linalg.norm(points - points[chosen[-1]], axis=1))
        chosen.append(int(apart.argmax()))
    return points[chosen]
