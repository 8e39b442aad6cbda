"""Fit a few dense networks to several targets at once; what they share helps each. Pure torch, no Ray.

A row may lack some targets: the loss counts what is known. Noise on the standardised inputs, dropout and weight decay
keep some thousand rows from being learned by heart; the loss is Huber's, for a few labels are far off.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float
from torch import nn

from rhoray.models.network import Networks
from rhoray.models.scaling import fit_scaling

HUBER = 0.2


@dataclass(frozen=True, slots=True)
class NetworkSettings:
    """How the networks look and learn.

    Attributes:
        width: of the first two layers; the third has half of it.
        epochs: passes over the rows.
        rate: highest learning rate of a one-cycle schedule.
        decay: AdamW's weight decay.
        noise: deviation of what is added to standardised inputs.
        dropout: share of units that are left out.
        batch: rows a step.
        seeds: how many networks.
    """

    width: int = 256
    epochs: int = 40
    rate: float = 2e-3
    decay: float = 1e-2
    noise: float = 0.05
    dropout: float = 0.1
    batch: int = 64
    seeds: int = 4


def fit_networks(
    features: Float[np.ndarray, "n f"], targets: Mapping[str, np.ndarray], settings: NetworkSettings, seed: int
) -> dict[str, Networks]:
    """Return, for each target, the networks that predict it.

    Args:
        features: (n, f).
        targets: name to values on the scale that shall be predicted, (n,); NaN where unknown.
        settings: see there.
        seed: of the first network; the others have the next ones.
    """
    scaling = fit_scaling(features)
    values = np.stack(list(targets.values()), axis=1)
    mean, deviation = np.nanmean(values, axis=0), np.nanstd(values, axis=0)
    x = torch.tensor(scaling.squashed(features), dtype=torch.float32)
    y = torch.tensor((values - mean) / deviation, dtype=torch.float32)
    fitted = [_fit_one(x, y, settings, seed + i) for i in range(settings.seeds)]
    layers = [[m for m in net if isinstance(m, nn.Linear)] for net in fitted]
    out = {}
    for t, name in enumerate(targets):
        weights = [np.stack([_numpy(net[i].weight.T) for net in layers]) for i in range(len(layers[0]))]
        biases = [np.stack([_numpy(net[i].bias) for net in layers]) for i in range(len(layers[0]))]
        weights[-1], biases[-1] = weights[-1][:, :, t : t + 1], biases[-1][:, t : t + 1]
        out[name] = Networks(scaling, tuple(weights), tuple(biases), float(mean[t]), float(deviation[t]))
    return out


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Return weights as they are stored, so that what was judged is what is loaded."""
    return tensor.detach().numpy().astype(np.float16)


def _fit_one(x: torch.Tensor, y: torch.Tensor, settings: NetworkSettings, seed: int) -> nn.Sequential:
    random = torch.Generator().manual_seed(seed)
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # layers and dropout draw from the global generator only
        net = _network(x.shape[1], y.shape[1], settings)
        batch = min(settings.batch, len(x))
        steps = settings.epochs * (len(x) // batch)
        optimiser = torch.optim.AdamW(net.parameters(), lr=settings.rate, weight_decay=settings.decay)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, settings.rate, total_steps=steps, pct_start=0.1)
        known = torch.isfinite(y).float()
        filled = torch.nan_to_num(y)
        for _ in range(settings.epochs):
            order = torch.randperm(len(x), generator=random)
            for rows in order[: len(x) // batch * batch].view(-1, batch):
                noise = settings.noise * torch.randn(x[rows].shape, generator=random)
                found = net(x[rows] + noise)
                loss = nn.functional.smooth_l1_loss(found, filled[rows], reduction="none", beta=HUBER)
                optimiser.zero_grad()
                ((loss * known[rows]).sum() / batch).backward()
                optimiser.step()
                schedule.step()
    return net.eval()


def _network(inputs: int, outputs: int, settings: NetworkSettings) -> nn.Sequential:
    width, half = settings.width, settings.width // 2
    return nn.Sequential(
        nn.Linear(inputs, width), nn.SiLU(), nn.Dropout(settings.dropout),
        nn.Linear(width, width), nn.SiLU(), nn.Dropout(settings.dropout),
        nn.Linear(width, half), nn.SiLU(),
        nn.Linear(half, outputs),
    )  # fmt: skip
