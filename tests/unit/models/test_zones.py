"""Zones of the spectrum: exact for what fits, as many numbers as a latent, the same wherever the origin is."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from rhoray.core.errors import RhoRayError
from rhoray.density.frames import to_frame
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.models.baselines import fourier_truncation
from rhoray.models.encoder_files import autoencoder_files, load_autoencoder
from rhoray.models.losses import density_error, electron_error
from rhoray.models.zones import (
    BANDS,
    best_zones,
    plain_metric,
    put_bands,
    quantised,
    read_header,
    take_bands,
    write_header,
    zones_of,
)
from tests.unit.builders import gaussians, salt, skewed

CONFIG = AutoencoderConfig(architecture="zones", width=4, depth=1)
BALL = replace(CONFIG, ball=True)


def noise(seed=0):
    return torch.rand(1, 128, 128, 128, generator=torch.Generator().manual_seed(seed))


def spectrum_of(frames):
    return torch.fft.rfftn(frames, dim=(1, 2, 3), norm="forward")


def frame_of(spectrum):
    return torch.fft.irfftn(spectrum, s=(128,) * 3, dim=(1, 2, 3), norm="forward")


def needle():
    """A cell eight times as long as wide, whose waves reach beyond index 32 along the long axis."""
    sites = [[0.1, 0.2, 0.03], [0.6, 0.5, 0.31], [0.2, 0.8, 0.77]]
    lattice = np.diag([2.5, 2.5, 20.0])
    return gaussians(lattice, ["Si"] * 3, sites, [4] * 3, [0.25] * 3, (24, 24, 128))


def metric(kind):
    plain = torch.eye(3, dtype=torch.float64)
    return quantised({"plain": plain, "long": torch.diag(torch.tensor([1.0, 1.0, 40.0]).double())}[kind][None])


@pytest.fixture(scope="module")
def frames():
    return torch.stack([torch.from_numpy(to_frame(d, "cell"))[None] for d in (salt(), skewed(), needle())])


@pytest.fixture(scope="module", params=[CONFIG, BALL], ids=["zones", "ball"])
def config(request):
    return request.param


@pytest.fixture(scope="module")
def stirred(config):
    torch.manual_seed(0)
    model = build_autoencoder(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return model


@pytest.mark.parametrize("kind", ["plain", "long"])
@pytest.mark.parametrize(("count", "ball"), [(16, False), (16, True), (64, True)])
def test_bands_keep_as_many_numbers_as_they_have(kind, count, ball):
    """Noise has equal power in every number: what comes back tells how many are kept, and keeping is a projection."""
    frames = noise()
    zones = zones_of(metric(kind), count, ball=ball)
    bands = take_bands(spectrum_of(frames), zones)
    kept = frame_of(put_bands(bands, zones))
    power = ((kept - kept.mean()).square().sum() / (frames - frames.mean()).square().sum()).item()
    assert power == pytest.approx(count * 4096 / 128**3, rel=0.02)
    again = frame_of(put_bands(take_bands(spectrum_of(kept), zones), zones))
    torch.testing.assert_close(again, kept, atol=1e-5, rtol=0)
    assert bands.square().mean(dim=(2, 3, 4)).sum().item() == pytest.approx(kept.square().mean().item(), rel=1e-4)


@pytest.mark.parametrize("ball", [False, True])
def test_any_numbers_are_bands_of_some_frame(ball):
    zones = zones_of(metric("plain"), BANDS, ball=ball)
    bands = torch.randn(1, BANDS, 16, 16, 16, generator=torch.Generator().manual_seed(0)).double()
    bands[0, -1] -= bands[0, -1].mean()  # class 0 has 15 numbers besides the mean, and keeps one of eight waves by half
    found = take_bands(spectrum_of(frame_of(put_bands(bands, zones))), zones)
    torch.testing.assert_close(found, bands, atol=1e-4, rtol=0)


@pytest.mark.parametrize(("ball", "alike"), [(False, False), (True, True)])
def test_with_ball_the_latent_holds_the_longest_waves_of_all(ball, alike):
    frames = noise() - 0.5
    zones = zones_of(metric("plain"), BANDS, ball=ball)
    kept = frame_of(put_bands(take_bands(spectrum_of(frames), zones), zones))
    longest = fourier_truncation(frames[:, None])[:, 0]
    # Ties between waves of one length, and those that the header takes the place of, are the difference that remains.
    assert ((kept - longest).square().sum() / longest.square().sum() < 0.01) == alike


def test_a_ball_is_the_same_waves_in_another_order():
    for kind in ("plain", "long"):
        whole = [zones_of(metric(kind), 64, ball=ball) for ball in (False, True)]
        assert torch.equal(*(zones.place.flatten().sort().values for zones in whole))
        some = zones_of(metric(kind), BANDS, ball=True)
        assert torch.equal(whole[1].first(BANDS).place, some.place)
        assert 0.01 < (some.place != whole[0].first(BANDS).place).float().mean() < 0.2


def test_the_first_band_is_the_local_mean(frames):
    bands = take_bands(spectrum_of(frames[:1, 0]), zones_of(metric("plain"), BANDS))
    wave = torch.fft.rfftn(frames[0, 0], norm="forward")[7, 0, 0]
    assert torch.fft.fftn(bands[0, 0], norm="forward")[7, 0, 0].item() == pytest.approx(wave.item(), abs=1e-5)
    assert bands[0, 0].mean().item() == pytest.approx(frames[0].mean().item(), rel=1e-5)


def test_the_header_is_read_back():
    bands = torch.randn(2, BANDS, 16, 16, 16, generator=torch.Generator().manual_seed(0))
    wanted = torch.tensor([[64, 64, 64, 0, 0, 0], [1024, 70, 3, -12, 40, -5]])
    latents = write_header(bands, wanted, torch.tensor([0.25, 1e-6]))
    clean, found, left_out = read_header(latents)
    assert torch.equal(found, wanted)
    torch.testing.assert_close(left_out, torch.tensor([0.25, 1e-6]), atol=1e-7, rtol=1e-6)
    torch.testing.assert_close(clean.mean(dim=(2, 3, 4))[:, :15], bands.mean(dim=(2, 3, 4))[:, :15])
    assert (clean - bands).square().sum() / bands.square().sum() < 1e-3


def test_a_long_cell_gets_a_metric_of_its_own_and_coarse_ones_need_none(frames):
    found, zones = best_zones(spectrum_of(frames[:, 0]), BANDS)
    plain = quantised(torch.eye(3, dtype=torch.float64)[None])[0]
    assert torch.equal(found[0], plain)
    assert torch.equal(found[1], plain)
    assert found[2, 2] < found[2, 0] / 10  # squares of lengths: the long axis' waves count as short
    assert torch.equal(plain_metric(3, frames.device)[2], plain)
    assert torch.equal(zones.place, zones_of(found, BANDS).place)
    assert torch.equal(zones.place[2], zones_of(found[2:], BANDS).place[0])
    assert torch.equal(zones_of(found, 64).first(BANDS).mirror, zones.mirror)


def test_untrained_it_is_exact_where_65536_numbers_are_enough_and_beats_fourier_where_not(frames, config):
    model = build_autoencoder(config).eval()
    with torch.inference_mode():
        found = model(frames)
    errors = density_error(found, frames)
    assert errors[:2].max() < 1e-4
    assert errors[2] < 0.2 * density_error(fourier_truncation(frames[2:]), frames[2:])


def test_shifts_by_a_sixteenth_shift_the_latent(frames, stirred):
    steps = (1, 2, 5)
    with torch.inference_mode():
        rolled = stirred.encode(torch.roll(frames, [8 * s for s in steps], (2, 3, 4)))
        expected, before, left_out = read_header(stirred.encode(frames))
    found, after, again = read_header(rolled)
    assert torch.equal(before, after)
    torch.testing.assert_close(again, left_out, atol=1e-6, rtol=1e-3)
    moved = torch.roll(expected, steps, (2, 3, 4))
    if stirred.core.ball:  # but for waves in the place of another class's, the weakest of all
        assert (found - moved).square().sum() < 1e-3 * (moved - moved.mean()).square().sum()
    else:
        torch.testing.assert_close(found, moved, atol=2e-4, rtol=0)


def test_charge_is_kept_whatever_the_weights(frames, stirred):
    with torch.inference_mode():
        assert electron_error(stirred(frames).double(), frames.double()).max() < 1e-6


def test_corrections_are_nothing_where_nothing_is_left_out(frames, stirred):
    with torch.inference_mode():
        assert density_error(stirred(frames[:2]), frames[:2]).max() < 1e-4


def test_gradients_reach_every_weight(stirred):
    rough = noise()[None]
    density_error(stirred(rough), rough).sum().backward()
    for name, parameter in stirred.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_a_crystal_that_fits_asks_no_network(frames, stirred):
    """What convolutions could add to it is less than what shards round off; a rough neighbour does not change that."""
    fits, rough = frames[:1], noise()[None]
    assert not stirred(fits).requires_grad
    assert stirred(rough).requires_grad
    with torch.inference_mode():
        together = stirred.encode(torch.cat([rough, fits]))
        for encoded, alone in zip(together, (rough, fits), strict=True):
            torch.testing.assert_close(encoded[None], stirred.encode(alone), atol=1e-5, rtol=1e-4)
        both = stirred.decode(together)
    torch.testing.assert_close(both[1:], fits, atol=1e-4, rtol=1e-4)


def test_batched_equals_one_by_one(frames, stirred):
    with torch.inference_mode():
        together = stirred.encode(frames)
        for i in range(len(frames)):
            torch.testing.assert_close(together[i : i + 1], stirred.encode(frames[i : i + 1]), atol=1e-5, rtol=1e-4)


def test_files_rebuild_it(frames, stirred, config):
    loaded = load_autoencoder(autoencoder_files(stirred, config, "cell", {}))
    with torch.inference_mode():
        assert torch.equal(loaded.model.encode(frames[:1]), stirred.encode(frames[:1]))


def test_frames_that_do_not_touch_are_refused():
    with pytest.raises(RhoRayError, match="periodic"):
        build_autoencoder(AutoencoderConfig(architecture="zones", periodic=False))
