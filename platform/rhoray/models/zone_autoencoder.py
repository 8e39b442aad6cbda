"""The network for periodic frames: 16 zones of the spectrum as latent, convolutions that guess the zones above."""

import itertools

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from rhoray.models.zones import (
    BANDS,
    CLASSES,
    FRAME,
    METRIC_STEPS,
    NEGLIGIBLE,
    Bands,
    Metric,
    Spectrum,
    best_zones,
    put_bands,
    read_header,
    take_bands,
    write_header,
    zones_of,
)

ABOVE = 48
METRIC_NUMBERS = 6
TINY = 1e-12


class ZoneCorrector(nn.Module):
    """Convolutions from 16^3 grids to 16^3 grids, periodic; nothing comes out before training."""

    def __init__(self, inner: int, width: int, outer: int, depth: int) -> None:
        super().__init__()
        widths = [inner + METRIC_NUMBERS, *[width] * depth]
        layers: list[nn.Module] = []
        for a, b in itertools.pairwise(widths):
            layers += [nn.Conv3d(a, b, 3, padding=1, padding_mode="circular"), nn.GELU()]
        self.layers = nn.Sequential(*layers)
        self.last = nn.Conv3d(width, outer, 1)
        nn.init.zeros_(self.last.weight)
        assert self.last.bias is not None
        nn.init.zeros_(self.last.bias)

    def forward(self, bands: Bands, metric: Metric) -> Float[Tensor, "b wanted 16 16 16"]:
        """Return one grid for each wanted band."""
        shape = (metric.to(bands.dtype) / METRIC_STEPS)[:, :, None, None, None].expand(-1, -1, *bands.shape[2:])
        return self.last(self.layers(torch.cat([bands, shape.asinh()], dim=1)))


class ZoneCore(nn.Module):
    """What `ZoneAutoencoder` computes; apart from it so that the base class stays with the other networks."""

    def __init__(self, width: int, depth: int, *, ball: bool) -> None:
        super().__init__()
        self.ball = ball
        self.encoder = ZoneCorrector(ABOVE, width, BANDS, depth)
        self.decoder = ZoneCorrector(BANDS, width, ABOVE, depth)

    def encode(self, frames: Float[Tensor, "b 1 128 128 128"]) -> Float[Tensor, "b 16 16 16 16"]:
        """Return latents: the 16 zones, adjusted by what lies above them, and the header."""
        spectrum = torch.fft.rfftn(frames[:, 0], dim=(1, 2, 3), norm="forward")
        metric, zones = best_zones(spectrum, BANDS + ABOVE, ball=self.ball)
        return self.latents_of(take_bands(spectrum, zones), metric)

    def latents_of(self, bands: Bands, metric: Metric) -> Float[Tensor, "b 16 16 16 16"]:
        """Return latents of all the zones that the network knows."""
        kept, above = bands[:, :BANDS], bands[:, BANDS:].float()
        left_out = above.square().mean(dim=(1, 2, 3, 4)).sqrt()
        scale = left_out[:, None, None, None, None]
        change = scale * _corrections(self.encoder, above / (scale + TINY), metric, _worth_it(kept, left_out))
        change = change - change.mean(dim=(2, 3, 4), keepdim=True)  # the first band's mean is the electron count
        return write_header(kept + change, metric, left_out).float()

    def decode(self, latents: Float[Tensor, "b 16 16 16 16"]) -> Float[Tensor, "b 1 128 128 128"]:
        """Return frames: the 16 zones, and the 48 above as the network guesses them.

        Transforms are in float64 unless a gradient is wanted: what comes back is then as exact as the latent.
        """
        kept, metric, left_out = read_header(latents if torch.is_grad_enabled() else latents.double())
        zones, wanted = zones_of(metric, BANDS + ABOVE, ball=self.ball), _worth_it(kept, left_out)
        if not bool(wanted.any()):
            return _frames_of(put_bands(kept, zones.first(BANDS))).float()
        scale = left_out[:, None, None, None, None].float()
        above = scale * _corrections(self.decoder, (kept.float() / (scale + TINY)).asinh(), metric, wanted)
        return _frames_of(put_bands(torch.cat([kept, above.to(kept.dtype)], dim=1), zones)).float()


def _worth_it(kept: Bands, left_out: Float[Tensor, " b"]) -> Bool[Tensor, " b"]:
    """Return which crystals leave out enough for a guess to matter; nine in ten have next to nothing above."""
    kept, left_out = kept.detach(), left_out.detach()
    waves = (kept - kept.mean(dim=(2, 3, 4), keepdim=True)).square().sum(dim=(1, 2, 3, 4))
    lost = ABOVE * CLASSES * left_out.square()
    return lost > NEGLIGIBLE * (waves + lost)


def _corrections(
    network: ZoneCorrector, bands: Bands, metric: Metric, wanted: Bool[Tensor, " b"]
) -> Float[Tensor, "b wanted 16 16 16"]:
    """Return what a network makes of the crystals that want it, and zeros for the others."""
    nothing = bands.new_zeros(len(bands), network.last.out_channels, *bands.shape[2:])
    return nothing.index_put((wanted,), network(bands[wanted], metric[wanted])) if bool(wanted.any()) else nothing


def _frames_of(spectrum: Spectrum) -> Float[Tensor, "b 1 128 128 128"]:
    return torch.fft.irfftn(spectrum, s=(FRAME,) * 3, dim=(1, 2, 3), norm="forward")[:, None]
