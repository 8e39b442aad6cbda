"""Fit the attention network: a plain torch loop, early-stopped on an inner split of the rows that may be seen."""

import copy
from typing import Any

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from rhoray.models.attention_cnn import (
    NUM_VOLUME,
    AttentionCNN,
    AttentionConfig,
    AttentionNetwork,
    fit_scales,
    scaled_inputs,
)

INNER_SHARE = 0.12
BATCH = 16
PATIENCE = 12


def fit_attention_cnn(
    features: Float[np.ndarray, "n f"], values: Float[np.ndarray, " n"], params: dict[str, Any], seed: int
) -> AttentionCNN:
    """Return a network fitted to the rows; scales, weights and the number of epochs come from them alone.

    Args:
        features: block `latent_volume`, then any others.
        values: what to learn, on the scale the network shall predict.
        params: `epochs` at most, `learning_rate`, `weight_decay`, `width`, `dropout`.
        seed: of weights, inner split, order and shifts.
    """
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(features), generator=generator).numpy()
    inner, train = np.split(order, [max(1, int(INNER_SHARE * len(order)))])
    scales = fit_scales(features[train], values[train])
    volume, table = scaled_inputs(features, scales)
    target = torch.as_tensor((values - scales["target"][0]) / scales["target"][1], dtype=torch.float32)
    config = AttentionConfig(
        features.shape[1] - NUM_VOLUME, width=int(params["width"]), dropout=float(params["dropout"])
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = AttentionNetwork(config)
        _run(network, (volume, table, target), (train, inner), params, generator)
    return AttentionCNN(config, network, scales)


def _run(
    network: AttentionNetwork,
    data: tuple[Tensor, Tensor, Tensor],
    rows: tuple[np.ndarray, np.ndarray],
    params: dict[str, Any],
    generator: torch.Generator,
) -> None:
    """Train in place and leave the weights of the best epoch."""
    (volume, table, target), (train, inner) = data, rows
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=float(params["learning_rate"]), weight_decay=float(params["weight_decay"])
    )
    loss = nn.HuberLoss()
    best, best_weights, waited = float("inf"), copy.deepcopy(network.state_dict()), 0
    for _ in range(int(params["epochs"])):
        network.train()
        shuffled = torch.as_tensor(train)[torch.randperm(len(train), generator=generator)]
        for batch in shuffled.split(BATCH):
            optimizer.zero_grad()
            found = network(_shifted(volume[batch], generator), table[batch])
            loss(found, target[batch]).backward()
            optimizer.step()
        network.eval()
        with torch.inference_mode():
            error = float((network(volume[inner], table[inner]) - target[inner]).abs().mean())
        waited += 1
        if error < best:
            best, best_weights, waited = error, copy.deepcopy(network.state_dict()), 0
        if waited > PATIENCE:
            break
    network.load_state_dict(best_weights)


def _shifted(volume: Float[Tensor, "b k na nb nc"], generator: torch.Generator) -> Float[Tensor, "b k na nb nc"]:
    """Return the batch with its origin moved: a crystal has none."""
    steps = torch.randint(volume.shape[-1], (3,), generator=generator).tolist()
    return torch.roll(volume, steps, dims=(2, 3, 4))
