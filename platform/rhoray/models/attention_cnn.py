"""A network with dual attention on the latent's volume, fused with tabular features.

Each stage weighs first its channels, then its positions, as arXiv:2605.07227 has it (after CBAM, Woo et al., ECCV 2018,
arXiv:1807.06521); unlike there, convolutions are periodic as crystals are, normalisation does not look at other
crystals of a batch, and there are some 80 thousand instead of 8 million weights. Fitting is rhoray.train's work.

Axes: b crystals, k channels, then positions a, b, c.
"""

import json
from dataclasses import asdict, dataclass

import numpy as np
import safetensors.torch
import torch
from jaxtyping import Float
from safetensors import SafetensorError
from torch import Tensor, nn

from rhoray.core.errors import BundleError
from rhoray.features.volume import CHANNELS, SIDE

ATTENTION_CNN = "attention_cnn"
WEIGHTS = "attention_cnn.safetensors"
NUM_VOLUME = CHANNELS * SIDE**3
# Features in robust units; what lies further out is as good as there.
CLIP = 5.0
AT_ONCE = 64


@dataclass(frozen=True, slots=True)
class AttentionConfig:
    """Shape of the network.

    Attributes:
        tabular: numbers beside the volume.
        width: channels of the first stage; the second has twice as many.
        hidden: width of the tabular branch and of the head.
        dropout: share of hidden units left out while fitting.
    """

    tabular: int
    width: int = 24
    hidden: int = 96
    dropout: float = 0.2


class DualAttention(nn.Module):
    """Weighs channels by their mean and maximum, then positions by mean and maximum over channels."""

    def __init__(self, width: int) -> None:
        super().__init__()
        squeezed = max(4, width // 4)
        self.channels = nn.Sequential(nn.Linear(width, squeezed), nn.SiLU(), nn.Linear(squeezed, width))
        self.positions = nn.Conv3d(2, 1, 3, padding=1, padding_mode="circular")

    def forward(self, x: Float[Tensor, "b k na nb nc"]) -> Float[Tensor, "b k na nb nc"]:
        """Return x, weighed."""
        summary = self.channels(x.mean(dim=(2, 3, 4))) + self.channels(x.amax(dim=(2, 3, 4)))
        x = x * torch.sigmoid(summary)[:, :, None, None, None]
        seen = torch.cat([x.mean(dim=1, keepdim=True), x.amax(dim=1, keepdim=True)], dim=1)
        return x * torch.sigmoid(self.positions(seen))


def _stage(inside: int, outside: int, stride: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inside, outside, 3, stride=stride, padding=1, padding_mode="circular"),
        nn.GroupNorm(4, outside),
        nn.SiLU(),
        DualAttention(outside),
    )


class AttentionNetwork(nn.Module):
    """Volume and table to one number per crystal."""

    def __init__(self, config: AttentionConfig) -> None:
        super().__init__()
        width, hidden = config.width, config.hidden
        self.volume = nn.Sequential(_stage(CHANNELS, width, 1), _stage(width, 2 * width, 2))
        self.table = nn.Sequential(nn.Linear(config.tabular, hidden), nn.SiLU(), nn.Dropout(config.dropout))
        self.head = nn.Sequential(
            nn.Linear(4 * width + hidden, hidden), nn.SiLU(), nn.Dropout(config.dropout), nn.Linear(hidden, 1)
        )

    def forward(self, volume: Float[Tensor, "b 16 8 8 8"], table: Float[Tensor, "b t"]) -> Float[Tensor, " b"]:
        """Return predictions on the scaled target."""
        x = self.volume(volume)
        seen = torch.cat([x.mean(dim=(2, 3, 4)), x.amax(dim=(2, 3, 4)), self.table(table)], dim=1)
        return self.head(seen)[:, 0]


@dataclass(frozen=True, slots=True)
class AttentionCNN:
    """A fitted network with the scales of what it sees and says.

    Attributes:
        config: its shape.
        network: its weights.
        scales: centre and spread of each column and of the target, from training rows: `volume_centre` (16,),
            `volume_spread` (16,), `table_centre` (t,), `table_spread` (t,), `target` (2,).
    """

    config: AttentionConfig
    network: AttentionNetwork
    scales: dict[str, np.ndarray]

    def predict(self, features: Float[np.ndarray, "n f"]) -> Float[np.ndarray, " n"]:
        """Return one number per row; the first 8,192 columns are the block `latent_volume`."""
        volume, table = scaled_inputs(features, self.scales)
        self.network.eval()
        with torch.inference_mode():
            parts = [
                self.network(volume[i : i + AT_ONCE], table[i : i + AT_ONCE]) for i in range(0, len(volume), AT_ONCE)
            ]
        centre, spread = self.scales["target"]
        return torch.cat(parts).numpy().astype(np.float64) * spread + centre

    def to_bytes(self) -> bytes:
        """Return weights and scales as safetensors, the shape in their header."""
        tensors = {f"network.{name}": value.contiguous() for name, value in self.network.state_dict().items()}
        tensors |= {f"scales.{name}": torch.from_numpy(value) for name, value in self.scales.items()}
        return safetensors.torch.save(tensors, {"config": json.dumps(asdict(self.config))})

    def to_files(self) -> dict[str, bytes]:
        """Return the files of a regressor's folder."""
        return {WEIGHTS: self.to_bytes()}


def load_attention_cnn(content: bytes) -> AttentionCNN:
    """Return the network that `to_bytes` wrote.

    Raises:
        BundleError: the bytes are something else.
    """
    try:
        tensors = safetensors.torch.load(content)
        length = int.from_bytes(content[:8], "little")
        config = AttentionConfig(**json.loads(json.loads(content[8 : 8 + length])["__metadata__"]["config"]))
        network = AttentionNetwork(config)
        network.load_state_dict({k.removeprefix("network."): v for k, v in tensors.items() if k.startswith("network.")})
    except (SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
        raise BundleError(f"not an attention_cnn model: {error}") from error
    scales = {k.removeprefix("scales."): v.numpy() for k, v in tensors.items() if k.startswith("scales.")}
    return AttentionCNN(config, network, scales)


def fit_scales(features: Float[np.ndarray, "n f"], values: Float[np.ndarray, " n"]) -> dict[str, np.ndarray]:
    """Return the scales of rows that may be looked at: the training ones."""
    volume, table = features[:, :NUM_VOLUME].reshape(len(features), CHANNELS, -1), features[:, NUM_VOLUME:]
    return {
        "volume_centre": volume.mean(axis=(0, 2)),
        "volume_spread": np.maximum(volume.std(axis=(0, 2)), 1e-9),
        "table_centre": table.mean(axis=0),
        "table_spread": np.maximum(table.std(axis=0), 1e-9),
        "target": np.array([values.mean(), max(float(values.std()), 1e-9)]),
    }


def scaled_inputs(
    features: Float[np.ndarray, "n f"], scales: dict[str, np.ndarray]
) -> tuple[Float[Tensor, "n 16 8 8 8"], Float[Tensor, "n t"]]:
    """Return what the network sees, float32."""
    volume = features[:, :NUM_VOLUME].reshape(len(features), CHANNELS, SIDE, SIDE, SIDE)
    per_channel = (slice(None), None, None, None)
    volume = (volume - scales["volume_centre"][per_channel]) / scales["volume_spread"][per_channel]
    table = (features[:, NUM_VOLUME:] - scales["table_centre"]) / scales["table_spread"]
    return _tensor(volume), _tensor(table)


def _tensor(values: np.ndarray) -> Tensor:
    return torch.as_tensor(np.clip(values, -CLIP, CLIP), dtype=torch.float32)
