"""A few small networks on a crystal's sites that differ in their seeds; their mean is the prediction. Plain NumPy.

A site begins with what is learned of its element and what surrounds it; in a few rounds it hears from its neighbours,
gated by both elements and their distance; the mean over sites and their spread say the crystal's number.
Source: Xie and Grossman, Phys. Rev. Lett. 120, 145301 (2018), with gates of its kind. Fitting is rhoray.train's work.
"""

import functools
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from jaxtyping import Float
from safetensors import SafetensorError
from safetensors.numpy import load, save

from rhoray.core.errors import BundleError
from rhoray.features.elements import element_table
from rhoray.features.sites import REACH, Sites

FILE = "sites.safetensors"
# Apart, because that of several targets is one: a bundle keeps equal files once.
TRUNK_FILE = "trunk.safetensors"
SURROUNDINGS = "surroundings"
DISTANCES = np.linspace(1.5, REACH, 20)
RELATIVES = np.linspace(0.7, 2.3, 20)
# Added before roots, in the standard deviation over sites and in layer normalisation.
LEAST_VARIANCE = 1e-4
NORM_EPSILON = 1e-5

Stacked = Float[np.ndarray, "_ _ _"]  # seeds, rows, numbers


@dataclass(frozen=True, slots=True)
class Trunk:
    """What networks of several targets have in common: all but the last layer. Trunks of one digest are equal.

    Attributes:
        digest: of the weights.
        weights: of each layer by the name it has in training, the seeds first; linear ones (seeds, in, out).
        surroundings: mean and scale of the numbers of that name, (2, numbers).
    """

    digest: str
    weights: Mapping[str, np.ndarray] = field(compare=False)
    surroundings: Float[np.ndarray, "2 numbers"] = field(compare=False)

    def read(self, sites: Sites) -> Float[np.ndarray, "seeds numbers"]:
        """Return what the last layer sees."""
        w = self.weights
        known = site_numbers(sites.rows, sites.surroundings, self.surroundings)
        state = w["element.weight"][:, sites.rows] + self._linear("known", known[None])
        basis, reach = radial_basis(sites.distance, sites.relative)
        sums = np.zeros((len(sites.rows), len(sites.first)), np.float32)
        sums[sites.first, np.arange(len(sites.first))] = sites.count * reach
        for r in range(sum(name.startswith("norm_") for name in w) // 2):
            pair = self._linear(f"here_{r}", state)[:, sites.first]
            pair = pair + self._linear(f"there_{r}", state)[:, sites.second] + self._linear(f"pair_{r}", basis[None])
            gate, value = np.split(pair, 2, axis=2)
            heard = self._normalised(f"norm_{r}", sums @ (_sigmoid(gate) * _silu(value)))
            joined = np.concatenate([state, heard], axis=2)
            state = state + self._linear(f"after_{r}", _silu(self._linear(f"joined_{r}", joined)))
        read = _silu(self._linear("read", state))
        share = sites.share.astype(np.float32)
        mean = (share @ read)[:, None]
        spread = np.sqrt(share @ (read - mean) ** 2 + LEAST_VARIANCE)[:, None]
        found = np.concatenate([mean, spread], axis=2)
        for layer in range(2):
            found = _silu(self._linear(f"head_{layer}", found))
        return found[:, 0]

    def _linear(self, name: str, values: Stacked) -> Stacked:
        found = values @ self.weights[f"{name}.weight"]
        bias = self.weights.get(f"{name}.bias")
        return found if bias is None else found + bias[:, None]

    def _normalised(self, name: str, values: Stacked) -> Stacked:
        off = values - values.mean(axis=2, keepdims=True)
        scaled = off / np.sqrt((off**2).mean(axis=2, keepdims=True) + NORM_EPSILON)
        return scaled * self.weights[f"{name}.weight"][:, None] + self.weights[f"{name}.bias"][:, None]


def make_trunk(weights: Mapping[str, np.ndarray], surroundings: Float[np.ndarray, "2 numbers"]) -> Trunk:
    """Return the trunk of some weights, kept in float32."""
    digest = hashlib.sha256(surroundings.tobytes())
    for name in sorted(weights):
        digest.update(name.encode() + weights[name].astype(np.float16).tobytes())
    # In one layout: matrix products of another one round otherwise.
    ready = {name: np.ascontiguousarray(value, np.float32) for name, value in weights.items()}
    return Trunk(digest.hexdigest(), ready, surroundings)


# The targets of one crystal come one after the other, and their networks share a trunk.
@functools.lru_cache(maxsize=16)
def _read(trunk: Trunk, sites: Sites) -> Float[np.ndarray, "seeds numbers"]:
    return trunk.read(sites)


@dataclass(frozen=True, slots=True, eq=False)
class SiteNetworks:
    """Networks of one target.

    Attributes:
        trunk: of all targets that were learned together.
        weight: of the last layer, (seeds, numbers).
        bias: of the last layer, (seeds,).
        fractions: what a linear model of element fractions says of the target, (elements,).
        mean: added to it.
        deviation: of the rest, which the networks learned.
    """

    trunk: Trunk
    weight: Float[np.ndarray, "seeds numbers"]
    bias: Float[np.ndarray, " seeds"]
    fractions: Float[np.ndarray, " elements"]
    mean: float
    deviation: float

    def predict_sites(self, crystals: Sequence[Sites]) -> Float[np.ndarray, " n"]:
        """Return the mean over seeds for each crystal, one at a time."""
        return np.array([self._of_one(sites) for sites in crystals])

    def _of_one(self, sites: Sites) -> float:
        each = (_read(self.trunk, sites) * self.weight).sum(axis=1) + self.bias
        return float(sites.share @ self.fractions[sites.rows] + each.mean() * self.deviation + self.mean)

    def to_files(self) -> dict[str, bytes]:
        """Return a file of the trunk and one of this target, weights in half precision."""
        halves = {name: np.ascontiguousarray(value, np.float16) for name, value in self.trunk.weights.items()}
        own = {"weight": self.weight.astype(np.float16), "bias": self.bias.astype(np.float16)}
        target = np.array([self.mean, self.deviation])
        return {
            TRUNK_FILE: save({**halves, SURROUNDINGS: self.trunk.surroundings}),
            FILE: save({**own, "fractions": self.fractions, "target": target}),
        }


def site_numbers(
    rows: np.ndarray, surroundings: Float[np.ndarray, "sites numbers"], scaling: Float[np.ndarray, "2 numbers"]
) -> Float[np.ndarray, "sites all"]:
    """Return what is known of each site before anything is learned, float32: element and surroundings."""
    properties = np.stack(list(element_table().properties.values()), axis=1)[rows]
    return np.concatenate([properties, (surroundings - scaling[0]) / scaling[1]], axis=1).astype(np.float32)


def radial_basis(
    distance: Float[np.ndarray, " pairs"], relative: Float[np.ndarray, " pairs"]
) -> tuple[Float[np.ndarray, "pairs channels"], Float[np.ndarray, " pairs"]]:
    """Return Gaussians in both kinds of distance, and a factor that falls to 0 at REACH, float32."""
    basis = [
        np.exp(-0.5 * ((values[:, None] - centres) / (centres[1] - centres[0])) ** 2)
        for values, centres in ((distance, DISTANCES), (relative, RELATIVES))
    ]
    reach = 0.5 * (np.cos(np.pi * distance / REACH) + 1)
    return np.concatenate(basis, axis=1).astype(np.float32), reach.astype(np.float32)


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-np.clip(x, -60, None)))


def _silu(x: np.ndarray) -> np.ndarray:
    return x * _sigmoid(x)


def load_site_networks(files: Mapping[str, bytes]) -> SiteNetworks:
    """Return the networks that `to_files` wrote.

    Raises:
        BundleError: the bytes are not such a model.
    """
    try:
        t = load(files[FILE])
        if TRUNK_FILE in files:
            weights = load(files[TRUNK_FILE])
        else:  # the first bundles with such networks have both in one file
            own = {n.removeprefix("trunk."): v for n, v in t.items() if n.startswith("trunk.")}
            weights = {**own, SURROUNDINGS: t[SURROUNDINGS]}
        trunk = make_trunk(weights, weights.pop(SURROUNDINGS))
        mean, deviation = t["target"].tolist()
        weight, bias = t["weight"].astype(np.float32), t["bias"].astype(np.float32)
        return SiteNetworks(trunk, weight, bias, t["fractions"], mean, deviation)
    except (SafetensorError, KeyError, ValueError) as error:
        raise BundleError(f"not a site network: {error!r}") from error
