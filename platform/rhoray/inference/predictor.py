"""The one way from a file to numbers; jobs, the endpoint and Python use this and nothing else.

Example:
    predictor = Predictor.load("pretrained:")
    prediction = predictor("CHGCAR")
    print(prediction)
"""

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias, overload

import numpy as np
from jaxtyping import Float
from pymatgen.core import Structure

from rhoray.core.blas import one_blas_thread
from rhoray.core.storage import normalise, read_bytes
from rhoray.core.targets import get_target, with_derived
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, volume_per_atom
from rhoray.density.decompress import DEFAULT_LIMIT
from rhoray.density.promolecule import promolecular_density
from rhoray.density.read import read_density
from rhoray.density.valence import electron_count_warning
from rhoray.features.block import Latent, feature_labels, feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.features.sites import sites_of
from rhoray.inference.prediction import Prediction, PropertyPrediction
from rhoray.models.frames import encode_densities
from rhoray.registry.bundle import Bundle, load_bundle
from rhoray.store.codec import to_compact

Latents = Float[np.ndarray, "n 16 16 16 16"]
LATENT_SHAPE = (16, 16, 16, 16)
# What one prediction is made of: a file by path or URI, what is in it, a crystal, or a density.
Given: TypeAlias = str | Path | bytes | Structure | ChargeDensity


def read_input(content: bytes, *, limit: int = DEFAULT_LIMIT) -> ChargeDensity:
    """Return the density of a file in the form in which training data are stored.

    Args:
        content: the file as it lies in storage, plain or as gz, bz2 or xz.
        limit: most bytes after decompression.

    Raises:
        InputRefused: one of its children says why.
    """
    return to_compact(read_density(content, limit=limit))


def density_of(given: Given) -> ChargeDensity:
    """Return the density of whatever a caller has, in the form in which training data are stored.

    Args:
        given: path or URI of a file, the file's content, a crystal, of which free atoms are superposed, or a density,
            which is taken as it is.

    Raises:
        InputRefused: one of its children says why.
        OSError: there is no such file, or it can't be read.
        RhoRayError: a URI of another scheme than file and s3.
    """
    if isinstance(given, ChargeDensity):
        return given
    if isinstance(given, Structure):
        return to_compact(promolecular_density(given))
    return read_input(given if isinstance(given, bytes) else read_bytes(normalise(str(given))))


class Predictor:
    """A bundle at work; stateless between calls, safe to share between threads."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle

    @classmethod
    def load(cls, uri: str) -> "Predictor":
        """Load a bundle by URI; `pretrained:` is the packaged one.

        Raises:
            BundleError: absent, altered or incomplete.
        """
        return cls(load_bundle(uri))

    @property
    def card(self) -> dict:
        """The bundle's card."""
        return self.bundle.card

    @property
    def name(self) -> str:
        """The bundle's name."""
        return self.bundle.card["name"]

    @property
    def version(self) -> str:
        """The bundle's version."""
        return self.bundle.card["version"]

    @functools.cached_property
    def _block_names(self) -> list[str]:
        """Every block that some regressor or the domain check looks at, each once."""
        wanted = [b for r in self.bundle.regressors.values() for b in r.about.blocks]
        wanted += [label.split(".")[0] for label in self.bundle.domain.labels]
        return list(dict.fromkeys(wanted))

    def encode(self, densities: Sequence[ChargeDensity]) -> Latents:
        """Return latents, float32."""
        return encode_densities(self.bundle.autoencoder, densities)

    @functools.cached_property
    def needs_latent(self) -> bool:
        """Whether some block looks at latents; if not, nothing has to be encoded for a prediction."""
        return any(block.needs_latent for block in get_blocks(self._block_names))

    @overload
    def __call__(self, given: Given) -> Prediction: ...

    @overload
    def __call__(self, given: Sequence[Given]) -> list[Prediction]: ...

    def __call__(self, given: Given | Sequence[Given]) -> Prediction | list[Prediction]:
        """Return one prediction, or a list of as many as were given.

        Args:
            given: path or URI of a file (CHGCAR, CHG, cube, CIF, POSCAR, compressed or not), its content, a pymatgen
                Structure or a ChargeDensity (electrons per cubic Angstrom), or a sequence of such.

        Raises:
            InputRefused: of the first that can't be used; one of its children says why.
            OSError: there is no such file, or it can't be read.
        """
        if isinstance(given, Given):
            return self([given])[0]
        densities = [density_of(one) for one in given]
        return self.predict(densities, self.encode(densities) if self.needs_latent else None)

    def predict(self, densities: Sequence[ChargeDensity], latents: Latents | None) -> list[Prediction]:
        """Return one prediction per density whose latents are already there, or needed by no block.

        Args:
            densities: electrons per cubic Angstrom, as `density_of` gives them.
            latents: of `encode`, one a density; None where `needs_latent` is false.

        Each crystal goes through alone and on one thread: sums over a batch, or split between threads, round otherwise,
        and a crystal's numbers must depend neither on its company nor on the machine's cores.
        """
        if latents is None:
            latents = np.zeros((len(densities), *LATENT_SHAPE), np.float32)
        with one_blas_thread():
            return [self._predict(density, latent) for density, latent in zip(densities, latents, strict=True)]

    def _predict(self, density: ChargeDensity, latent: Latent) -> Prediction:
        columns = self._features(density, latent)
        values = self._values(density, columns)
        intervals = self.bundle.intervals(values, columns)
        known = np.array([columns[label][0] for label in self.bundle.domain.labels])
        odd = electron_count_warning(density)
        reasons = (*self.bundle.domain.reasons(density, known), *([odd] if odd else []))
        properties = tuple(
            PropertyPrediction(
                target,
                float(values[target][0]),
                float(intervals[target][0][0]),
                float(intervals[target][1][0]),
                self._unit(target),
            )
            for target in self.bundle.targets
        )
        return Prediction(properties, not reasons, reasons)

    def _unit(self, target: str) -> str:
        regressor = self.bundle.regressors.get(target)
        return regressor.about.unit if regressor else get_target(target).unit

    def _features(self, density: ChargeDensity, latent: Latent) -> dict[str, Float[np.ndarray, "1"]]:
        blocks = get_blocks(self._block_names)
        values = feature_matrix(blocks, [density], [latent])
        return dict(zip(feature_labels(blocks), values.T, strict=True))

    def _values(self, density: ChargeDensity, columns: dict[str, np.ndarray]) -> dict[str, Float[np.ndarray, "1"]]:
        crystals = [sites_of(density)] if any(r.needs_sites for r in self.bundle.regressors.values()) else None
        learned = {
            target: regressor.predict(np.stack([columns[c] for c in regressor.about.labels], axis=1), crystals)
            for target, regressor in self.bundle.regressors.items()
        }
        return with_derived(learned, np.array([mass_density(density)]), np.array([volume_per_atom(density)]))
