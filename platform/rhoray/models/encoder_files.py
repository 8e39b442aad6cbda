"""An autoencoder on disk: `autoencoder.safetensors` (weights) and `autoencoder.json` (what rebuilds it)."""

import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Any

import safetensors
import safetensors.torch

from rhoray.core.errors import BundleError
from rhoray.models.autoencoder import Autoencoder, AutoencoderConfig, build_autoencoder

WEIGHTS = "autoencoder.safetensors"
ABOUT = "autoencoder.json"


@dataclass(frozen=True, slots=True)
class TrainedAutoencoder:
    """A network in evaluation mode and the facts of its training.

    Attributes:
        model: the network.
        frame: how crystals must be shown to it.
        about: `autoencoder.json`: config, frame, recipe, metrics, training formulas.
        digest: SHA-256 of the weights; latents of different digests do not mix.
    """

    model: Autoencoder
    frame: str
    about: dict[str, Any]
    digest: str


def autoencoder_files(
    model: Autoencoder, config: AutoencoderConfig, frame: str, facts: dict[str, Any]
) -> dict[str, bytes]:
    """Return the two files by name."""
    weights = {name: t.detach().cpu().contiguous() for name, t in model.state_dict().items()}
    about = {"config": asdict(config), "frame": frame, **facts}
    return {
        WEIGHTS: safetensors.torch.save(weights),
        ABOUT: json.dumps(about, indent=1, sort_keys=True).encode() + b"\n",
    }


def load_autoencoder(files: dict[str, bytes]) -> TrainedAutoencoder:
    """Return the network of two files.

    Raises:
        BundleError: a file is missing, or the weights do not fit the network.
    """
    try:
        about = json.loads(files[ABOUT])
        model = build_autoencoder(AutoencoderConfig(**about["config"]))
        model.load_state_dict(safetensors.torch.load(files[WEIGHTS]))
        frame = about["frame"]
    except (KeyError, TypeError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        raise BundleError(f"not an autoencoder: {sorted(files)}: {error}") from error
    model.eval()
    return TrainedAutoencoder(model, frame, about, hashlib.sha256(files[WEIGHTS]).hexdigest())
