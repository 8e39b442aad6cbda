"""Fit a few networks on sites to several targets at once; what they share helps each. Pure torch, no Ray.

A crystal may lack some targets: the loss counts what is known. Of energies, which are nearly linear in composition,
the networks learn what a linear model of element fractions leaves. What is kept is a running mean of the weights.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from rhoray.features.elements import element_table
from rhoray.features.sites import REACH, Sites
from rhoray.models.site_network import (
    DISTANCES,
    LEAST_VARIANCE,
    NORM_EPSILON,
    RELATIVES,
    SiteNetworks,
    make_trunk,
    radial_basis,
    site_numbers,
)

HUBER = 0.2
CLIPPED = 5.0
# Ridge of the linear model, in crystals that consist of one element.
RIDGE = 0.3


@dataclass(frozen=True, slots=True)
class SiteSettings:
    """How the networks look and learn.

    Attributes:
        width: of a site's state.
        rounds: of messages.
        head: widths of the two layers that read the crystal.
        epochs: passes over the crystals.
        rate: highest learning rate of a one-cycle schedule.
        decay: AdamW's weight decay.
        dropout: share of what is read of the sites that is left out.
        strain: deviation of the relative error that is put on distances.
        batch: crystals a step.
        average: how much of the running mean of the weights a step keeps.
        seeds: how many networks.
    """

    width: int = 64
    rounds: int = 3
    head: tuple[int, int] = (128, 64)
    epochs: int = 60
    rate: float = 2e-3
    decay: float = 1e-2
    dropout: float = 0.2
    strain: float = 0.01
    batch: int = 64
    average: float = 0.998
    seeds: int = 4


def fit_site_networks(
    crystals: Sequence[Sites], targets: Mapping[str, np.ndarray], settings: SiteSettings, seed: int,
    linear: Sequence[str] = (),
) -> dict[str, SiteNetworks]:  # fmt: skip
    """Return, for each target, the networks that predict it.

    Args:
        crystals: (n,).
        targets: name to values on the scale that shall be predicted, (n,); NaN where unknown.
        settings: see there.
        seed: of the first network; the others have the next ones.
        linear: targets of which a linear model of element fractions takes its part first.
    """
    fractions = np.zeros((len(crystals), len(element_table().radius)))
    for row, sites in enumerate(crystals):
        np.add.at(fractions[row], sites.rows, sites.share)
    slopes = {
        name: _ridge(fractions, v) if name in linear else np.zeros(fractions.shape[1]) for name, v in targets.items()
    }
    rest = np.stack([values - fractions @ slopes[name] for name, values in targets.items()], axis=1)
    mean, deviation = np.nanmean(rest, axis=0), np.nanstd(rest, axis=0)
    y = torch.tensor((rest - mean) / deviation, dtype=torch.float32)
    surroundings = np.concatenate([sites.surroundings for sites in crystals])
    scaling = np.stack([surroundings.mean(axis=0), surroundings.std(axis=0)])
    graphs = _Graphs(crystals, scaling)
    fitted = [_weights(_fit_one(graphs, y, settings, seed + i)) for i in range(settings.seeds)]
    stacked = {name: np.stack([weights[name] for weights in fitted]) for name in fitted[0]}
    weight, bias = stacked.pop("head_2.weight"), stacked.pop("head_2.bias")
    trunk = make_trunk(stacked, scaling)
    return {
        name: SiteNetworks(trunk, weight[:, :, t], bias[:, t], slopes[name], float(mean[t]), float(deviation[t]))
        for t, name in enumerate(targets)
    }


def _ridge(
    fractions: Float[np.ndarray, "n elements"], values: Float[np.ndarray, " n"]
) -> Float[np.ndarray, " elements"]:
    known = np.isfinite(values)
    x, y = fractions[known], values[known] - values[known].mean()
    return np.linalg.solve(x.T @ x + RIDGE * np.eye(x.shape[1]), x.T @ y)


def _weights(net: "_SiteNetwork") -> dict[str, np.ndarray]:
    """Return weights as they are stored, in half precision, so that what was judged is what is loaded."""
    linear = {f"{name}.weight" for name, part in net.named_modules() if isinstance(part, nn.Linear)}
    out = {}
    for name, value in net.state_dict().items():
        stored = value.numpy().astype(np.float16).astype(np.float32)
        out[name] = stored.T if name in linear else stored
    return out


class _SiteNetwork(nn.Module):
    """SiteNetworks of one seed; its modules have the names of the weights there."""

    def __init__(self, elements: int, known: int, outputs: int, settings: SiteSettings) -> None:
        super().__init__()
        width, (first, second) = settings.width, settings.head
        self.rounds = settings.rounds
        self.element = nn.Embedding(elements, width)
        nn.init.normal_(self.element.weight, std=0.3)
        self.known = nn.Linear(known, width)
        for r in range(settings.rounds):
            self.add_module(f"here_{r}", nn.Linear(width, 2 * width))
            self.add_module(f"there_{r}", nn.Linear(width, 2 * width, bias=False))
            self.add_module(f"pair_{r}", nn.Linear(len(DISTANCES) + len(RELATIVES), 2 * width, bias=False))
            self.add_module(f"norm_{r}", nn.LayerNorm(width, eps=NORM_EPSILON))
            self.add_module(f"joined_{r}", nn.Linear(2 * width, width))
            self.add_module(f"after_{r}", nn.Linear(width, width))
        self.read = nn.Linear(width, width)
        self.head_0 = nn.Linear(2 * width, first)
        self.head_1 = nn.Linear(first, second)
        self.head_2 = nn.Linear(second, outputs)
        self.dropout = nn.Dropout(settings.dropout)

    def forward(self, batch: "_Batch") -> torch.Tensor:
        """Return (crystals, outputs)."""
        silu = nn.functional.silu
        state = self.element(batch.rows) + self.known(batch.known)
        for r in range(self.rounds):
            pair = self._part("here", r, state)[batch.first] + self._part("there", r, state)[batch.second]
            gate, value = (pair + self._part("pair", r, batch.basis)).chunk(2, dim=1)
            message = torch.sigmoid(gate) * silu(value) * batch.weight[:, None]
            heard = self._part("norm", r, torch.zeros_like(state).index_add(0, batch.first, message))
            state = state + self._part("after", r, silu(self._part("joined", r, torch.cat([state, heard], dim=1))))
        read = silu(self.read(state))
        mean = batch.over_sites(read)
        spread = torch.sqrt(batch.over_sites((read - mean[batch.crystal]) ** 2) + LEAST_VARIANCE)
        found = silu(self.head_0(self.dropout(torch.cat([mean, spread], dim=1))))
        return self.head_2(silu(self.head_1(self.dropout(found))))

    def _part(self, name: str, r: int, values: torch.Tensor) -> torch.Tensor:
        return self.get_submodule(f"{name}_{r}")(values)


@dataclass(frozen=True, slots=True, eq=False)
class _Batch:
    rows: torch.Tensor
    known: torch.Tensor
    share: torch.Tensor
    crystal: torch.Tensor
    first: torch.Tensor
    second: torch.Tensor
    basis: torch.Tensor
    weight: torch.Tensor
    size: int

    def over_sites(self, values: torch.Tensor) -> torch.Tensor:
        """Return each crystal's mean."""
        sums = torch.zeros(self.size, values.shape[1])
        return sums.index_add(0, self.crystal, values * self.share[:, None])


class _Graphs:
    """Crystals side by side, from which batches are cut."""

    def __init__(self, crystals: Sequence[Sites], scaling: np.ndarray) -> None:
        self._rows = np.concatenate([s.rows for s in crystals])
        known = site_numbers(self._rows, np.concatenate([s.surroundings for s in crystals]), scaling)
        self.known = torch.tensor(known)
        self._share = np.concatenate([s.share for s in crystals]).astype(np.float32)
        self._first, self._second, self._distance, self._relative, self._count = (
            np.concatenate([getattr(s, name) for s in crystals])
            for name in ("first", "second", "distance", "relative", "count")
        )
        self._sites = np.array([len(s.rows) for s in crystals])
        self._pairs = np.array([len(s.first) for s in crystals])
        self._site_start = np.cumsum(self._sites) - self._sites
        self._pair_start = np.cumsum(self._pairs) - self._pairs

    def batch(self, crystals: np.ndarray, strain: np.ndarray | None = None) -> _Batch:
        """Return some crystals; `strain` is a relative error of each of their pairs' distances."""
        sites = _ranges(self._site_start[crystals], self._sites[crystals])
        pairs = _ranges(self._pair_start[crystals], self._pairs[crystals])
        shift = np.cumsum(self._sites[crystals]) - self._sites[crystals]
        shift = np.repeat(shift, self._pairs[crystals])
        factor = 1.0 if strain is None else 1.0 + strain
        distance = np.minimum(self._distance[pairs] * factor, REACH)
        basis, reach = radial_basis(distance, self._relative[pairs] * factor)
        return _Batch(
            torch.from_numpy(self._rows[sites]), self.known[torch.from_numpy(sites)],
            torch.from_numpy(self._share[sites]),
            torch.from_numpy(np.repeat(np.arange(len(crystals)), self._sites[crystals])),
            torch.from_numpy(self._first[pairs] + shift), torch.from_numpy(self._second[pairs] + shift),
            torch.from_numpy(basis), torch.from_numpy((self._count[pairs] * reach).astype(np.float32)), len(crystals),
        )  # fmt: skip

    def pairs(self, crystals: np.ndarray) -> int:
        """Return how many pairs some crystals have."""
        return int(self._pairs[crystals].sum())


def _ranges(starts: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Return start, start + 1, … of each range, one after the other."""
    return np.repeat(starts - (np.cumsum(lengths) - lengths), lengths) + np.arange(lengths.sum())


def _fit_one(graphs: _Graphs, y: torch.Tensor, settings: SiteSettings, seed: int) -> _SiteNetwork:
    random = np.random.default_rng(seed)
    elements = len(element_table().radius)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # layers and dropout draw from the global generator only
        net = _SiteNetwork(elements, graphs.known.shape[1], y.shape[1], settings)
        kept = torch.optim.swa_utils.AveragedModel(
            net, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(settings.average)
        )
        batch = min(settings.batch, len(y))
        steps = settings.epochs * (len(y) // batch)
        optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps, pct_start=0.1)
        known, filled = torch.isfinite(y).float(), torch.nan_to_num(y)
        for _ in range(settings.epochs):
            order = random.permutation(len(y))
            for rows in order[: len(y) // batch * batch].reshape(-1, batch):
                strain = settings.strain * random.standard_normal(graphs.pairs(rows))
                found = net(graphs.batch(rows, strain))
                loss = nn.functional.smooth_l1_loss(found, filled[rows], reduction="none", beta=HUBER)
                optimiser.zero_grad()
                ((loss * known[rows]).sum() / batch).backward()
                nn.utils.clip_grad_norm_(net.parameters(), CLIPPED)
                optimiser.step()
                schedule.step()
                kept.update_parameters(net)
    return cast(_SiteNetwork, kept.module).eval()
