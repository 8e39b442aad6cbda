"""Autoencoders: a 128^3 frame of a charge density to a 16 x 16 x 16 x 16 latent and back.

Tensors are `b c na nb nc`: batch, channel, grid axes. Frames go in and come out in electrons per cubic Angstrom.
"""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from rhoray.core.errors import BundleError, RhoRayError
from rhoray.models.keras_files import read_convolutions
from rhoray.models.zone_autoencoder import ZoneCore

FRAME = 128
LATENT_SHAPE = (16, 16, 16, 16)
LATENT_CHANNELS = 16
PATCH = 8
PATCH_VALUES = PATCH**3

Architecture = Literal["zones", "patch", "paper"]
Padding = Literal["zeros", "circular"]
Frames = Float[Tensor, "b 1 128 128 128"]
Latents = Float[Tensor, "b 16 16 16 16"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """What rebuilds a network before its weights are loaded.

    Attributes:
        architecture: `zones`, for frames whose opposite faces touch; `patch`, for any; or `paper`.
        width: hidden channels of `zones` and `patch`.
        depth: hidden convolutions of each half of `zones` and `patch`.
        periodic: whether opposite faces of the frame touch (circular padding).
        ball: of `zones`: the latent holds the 65,536 longest waves of all, not 16 of each class.
    """

    architecture: Architecture = "patch"
    width: int = 32
    depth: int = 2
    periodic: bool = True
    ball: bool = False


class Autoencoder(nn.Module):
    """Base: `encode`, `decode`, and `forward` as one after the other."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(self.parameters()).device

    def encode(self, frames: Frames) -> Latents:
        """Return the latents of frames."""
        raise NotImplementedError

    def decode(self, latents: Latents) -> Frames:
        """Return the frames that latents stand for."""
        raise NotImplementedError

    def core_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the weights that start near their optimum; none unless a network says so."""
        yield from ()

    def forward(self, frames: Frames) -> Frames:
        """Return the reconstruction of frames."""
        return self.decode(self.encode(frames))


def build_autoencoder(config: AutoencoderConfig) -> Autoencoder:
    """Return a freshly initialised network."""
    if config.architecture == "paper":
        return PaperAutoencoder()
    return ZoneAutoencoder(config) if config.architecture == "zones" else PatchAutoencoder(config)


def count_parameters(model: nn.Module) -> int:
    """Return the number of trainable numbers."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


class PaperAutoencoder(Autoencoder):
    """The network of arXiv:2605.07227 (AE_16), layer for layer: 111,633 parameters.

    Convolutions with kernel 3 and ReLU at full resolution, each followed by max-pooling; the mirror image upwards.
    """

    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(
            *(_conv_relu(1, 16), nn.MaxPool3d(2)),
            *(_conv_relu(16, 32), nn.MaxPool3d(2)),
            *(_conv_relu(32, 32), nn.MaxPool3d(2)),
            _conv_relu(32, LATENT_CHANNELS),
        )
        self.decoder = nn.Sequential(
            *(_conv_relu(LATENT_CHANNELS, 32), nn.Upsample(scale_factor=2)),
            *(_conv_relu(32, 32), nn.Upsample(scale_factor=2)),
            *(_conv_relu(32, 16), nn.Upsample(scale_factor=2)),
            nn.Conv3d(16, 1, 3, padding=1),
        )

    def encode(self, frames: Frames) -> Latents:
        """Return the latents of frames; they are never negative."""
        return self.encoder(frames)

    def decode(self, latents: Latents) -> Frames:
        """Return the frames that latents stand for."""
        return self.decoder(latents)


def load_keras(path: str | Path) -> PaperAutoencoder | nn.Sequential:
    """Return the paper's network with the weights of an HDF5 file that Keras 2 wrote, in evaluation mode.

    Args:
        path: of a whole model or of weights alone; models inside the model (encoder, decoder) are welcome.

    Returns:
        The network; or its encoder or decoder alone, where the file holds no more.

    Raises:
        BundleError: not such a file, or its layers are not the paper's.
    """
    layers = read_convolutions(path)
    whole = PaperAutoencoder().eval()
    for network in (whole, whole.encoder, whole.decoder):
        own = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
        if [layer.kernel.shape for layer in layers] == [conv.weight.shape for conv in own]:
            for layer, conv in zip(layers, own, strict=True):
                conv.load_state_dict({"weight": layer.kernel, "bias": layer.bias})
            return network
    found = ", ".join(f"{layer.name} {tuple(layer.kernel.shape[2:])} {layer.channels}" for layer in layers)
    wanted = [(m.in_channels, m.out_channels) for m in whole.modules() if isinstance(m, nn.Conv3d)]
    raise BundleError(
        f"{path}: convolutions {found or 'none'}, expected kernels (3, 3, 3) with channels {wanted}, "
        "or the first or last four of these"
    )


def _conv_relu(inner: int, outer: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv3d(inner, outer, 3, padding=1), nn.ReLU())


class ZoneAutoencoder(Autoencoder):
    """16 zones of the spectrum, which most densities fit into, and convolutions that guess the 48 above.

    See `rhoray.models.zones`. The electron count is kept exactly. Whatever the convolutions add is scaled by how
    much the zones leave out, so that a density that fits comes back as it was.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        if not config.periodic:
            raise RhoRayError("zones are of periodic frames; use `patch` where opposite faces do not touch")
        self.core = ZoneCore(config.width, config.depth, ball=config.ball)

    def encode(self, frames: Frames) -> Latents:
        """Return the latents of frames."""
        return self.core.encode(frames)

    def decode(self, latents: Latents) -> Frames:
        """Return the frames that latents stand for."""
        return self.core.decode(latents)


class PatchAutoencoder(Autoencoder):
    """Patches of 8^3 voxels, a linear core, and convolutions at 16^3 that correct it.

    A density varies slowly over 8 voxels, so 16 numbers a patch hold nearly all of it when they are its leading
    principal components: that linear map is where training starts (`set_basis`). The encoder's convolutions adjust
    those numbers by what the neighbours look like; the decoder's predict from the neighbours what the 16 numbers
    leave out. Both corrections start at zero, so that training only ever improves on the linear map.
    """

    def __init__(self, config: AutoencoderConfig) -> None:
        super().__init__()
        padding: Padding = "circular" if config.periodic else "zeros"
        self.analysis = nn.Linear(PATCH_VALUES, LATENT_CHANNELS, bias=False)
        self.synthesis = nn.Linear(LATENT_CHANNELS, PATCH_VALUES, bias=False)
        self.encoder_stem = nn.Linear(PATCH_VALUES, config.width)
        self.encoder = _corrector(config.width, config.width, LATENT_CHANNELS, config.depth, padding)
        self.decoder = _corrector(LATENT_CHANNELS, config.width, config.width, config.depth, padding)
        self.decoder_head = nn.Linear(config.width, PATCH_VALUES)
        nn.init.zeros_(self.decoder_head.weight)
        nn.init.zeros_(self.decoder_head.bias)
        _zero_last(self.encoder)

    def core_parameters(self) -> Iterator[nn.Parameter]:
        """Yield the linear map's weights."""
        yield from (*self.analysis.parameters(), *self.synthesis.parameters())

    @torch.no_grad()
    def set_basis(self, components: Float[Tensor, "components 512"]) -> None:
        """Start from the leading principal components of patches (see `patch_components`), rows orthonormal."""
        leading = components[:LATENT_CHANNELS]
        self.analysis.weight.copy_(leading)
        self.synthesis.weight.copy_(leading.T)
        width = self.encoder_stem.weight.shape[0]
        self.encoder_stem.weight.copy_(components[:width])

    def encode(self, frames: Frames) -> Latents:
        """Return the latents of frames."""
        patches = to_patches(squash(frames))
        features = rearrange(self.encoder_stem(patches), "b i j k c -> b c i j k")
        linear = rearrange(self.analysis(patches), "b i j k c -> b c i j k")
        return linear + self.encoder(features)

    def decode(self, latents: Latents) -> Frames:
        """Return the frames that latents stand for."""
        linear = self.synthesis(rearrange(latents, "b c i j k -> b i j k c"))
        features = rearrange(self.decoder(latents), "b c i j k -> b i j k c")
        return unsquash(from_patches(linear + self.decoder_head(features)))


def _corrector(inner: int, width: int, outer: int, depth: int, padding: Padding) -> nn.Sequential:
    widths = [inner, *[width] * depth]
    layers: list[nn.Module] = []
    for a, b in itertools.pairwise(widths):
        layers += [nn.Conv3d(a, b, 3, padding=1, padding_mode=padding), nn.GELU()]
    return nn.Sequential(*layers, nn.Conv3d(width, outer, 1))


def _zero_last(layers: nn.Sequential) -> None:
    last = layers[-1]
    assert isinstance(last, nn.Conv3d)
    nn.init.zeros_(last.weight)
    assert last.bias is not None
    nn.init.zeros_(last.bias)


def squash(rho: Tensor) -> Tensor:
    """Tame core peaks: the sign of rho times log(1 + |rho|), rho in e/A3."""
    return torch.copysign(torch.log1p(rho.abs()), rho)


def unsquash(value: Tensor) -> Tensor:
    """Invert `squash`."""
    return torch.copysign(torch.expm1(value.abs()), value)


def to_patches(frames: Float[Tensor, "b 1 n n n"]) -> Float[Tensor, "b i j k 512"]:
    """Return the 8^3 patches of frames, each as one row of numbers."""
    return rearrange(frames, "b 1 (i p) (j q) (k r) -> b i j k (p q r)", p=PATCH, q=PATCH, r=PATCH)


def from_patches(patches: Float[Tensor, "b i j k 512"]) -> Float[Tensor, "b 1 n n n"]:
    """Invert `to_patches`."""
    return rearrange(patches, "b i j k (p q r) -> b 1 (i p) (j q) (k r)", p=PATCH, q=PATCH, r=PATCH)


def patch_moment(frames: Float[Tensor, "b 1 n n n"]) -> Float[Tensor, "512 512"]:
    """Return the second moment of squashed patches, summed; moments of several batches add up."""
    rows = rearrange(to_patches(squash(frames)), "b i j k v -> (b i j k) v").double()
    return rows.T @ rows


def patch_components(moment: Float[Tensor, "512 512"]) -> Float[Tensor, "512 512"]:
    """Return the principal components of patches as rows, the strongest first, in float32."""
    _, vectors = torch.linalg.eigh(moment)
    components = vectors.flip(-1).T
    # An eigenvector's sign is arbitrary; fix it so that two machines start from the same network.
    signs = torch.sign(components.gather(1, components.abs().argmax(1, keepdim=True)))
    return (components * signs).float()
