"""The networks: shapes, parameters, and a linear start that is already good."""

import json

import numpy as np
import pytest
import torch

from rhoray.core.errors import BundleError
from rhoray.density.frames import to_frame
from rhoray.models.autoencoder import (
    AutoencoderConfig,
    PaperAutoencoder,
    build_autoencoder,
    count_parameters,
    from_patches,
    patch_components,
    patch_moment,
    squash,
    to_patches,
    unsquash,
)
from rhoray.models.encoder_files import ABOUT, WEIGHTS, autoencoder_files, load_autoencoder
from rhoray.models.frames import encode_densities
from rhoray.models.losses import density_error, electron_error
from tests.unit.builders import salt, sample_densities, skewed

SMALL = AutoencoderConfig(width=8, depth=1)


def build(config=SMALL):
    torch.manual_seed(0)
    return build_autoencoder(config).eval()


def stirred(config=SMALL):
    """A network whose corrections are not zero."""
    model = build(config)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def frame():
    return torch.from_numpy(to_frame(salt(), "cell"))[None, None]


def test_the_papers_network(frame):
    model = PaperAutoencoder().eval()
    assert count_parameters(model) == 111_633
    with torch.inference_mode():
        latent = model.encode(frame)
        assert latent.shape == (1, 16, 16, 16, 16)
        assert latent.min() >= 0
        assert model.decode(latent).shape == (1, 1, 128, 128, 128)


@pytest.mark.parametrize("periodic", [True, False], ids=["circular", "zeros"])
def test_the_patch_network(frame, periodic):
    model = build(AutoencoderConfig(width=8, depth=1, periodic=periodic))
    with torch.inference_mode():
        assert model.encode(frame).shape == (1, 16, 16, 16, 16)
        assert model(frame).shape == frame.shape


def test_a_periodic_network_commutes_with_shifts_by_a_patch(frame):
    model, steps = stirred(), (1, 2, 5)
    with torch.inference_mode():
        found = model.encode(torch.roll(frame, [8 * s for s in steps], (2, 3, 4)))
        torch.testing.assert_close(found, torch.roll(model.encode(frame), steps, (2, 3, 4)), atol=1e-5, rtol=1e-4)


def test_batched_equals_one_by_one(frame):
    model = stirred()
    frames = torch.cat([frame, 0.5 * frame])
    with torch.inference_mode():
        together = model(frames)
        for i in range(2):
            torch.testing.assert_close(together[i : i + 1], model(frames[i : i + 1]), atol=1e-5, rtol=1e-5)


def test_patches_come_back():
    frames = torch.arange(2 * 16**3, dtype=torch.float32).reshape(2, 1, 16, 16, 16)
    patches = to_patches(frames)
    assert patches.shape == (2, 2, 2, 2, 512)
    torch.testing.assert_close(patches[1, 0, 1, 0].reshape(8, 8, 8), frames[1, 0, :8, 8:, :8])
    torch.testing.assert_close(from_patches(patches), frames, atol=0, rtol=0)


def test_unsquash_inverts_squash():
    rho = torch.tensor([-3.0, -1e-6, 0.0, 1e-6, 0.02, 1.0, 500.0])
    torch.testing.assert_close(unsquash(squash(rho)), rho, rtol=1e-5, atol=1e-9)
    assert (squash(rho).diff() > 0).all()


def test_components_are_orthonormal_and_sorted(frame):
    moment = patch_moment(frame)
    components = patch_components(moment).double()
    torch.testing.assert_close(components @ components.T, torch.eye(512, dtype=torch.float64), atol=1e-5, rtol=0)
    strength = (components @ moment @ components.T).diagonal()
    assert (strength.diff() <= 1e-4 * strength[0]).all()


def test_moments_add_up(frame):
    torch.testing.assert_close(
        patch_moment(torch.cat([frame, 2 * frame])), patch_moment(frame) + patch_moment(2 * frame)
    )


def test_the_linear_start_reconstructs_a_smooth_field(frame):
    model = build()
    with torch.inference_mode():
        before = density_error(model(frame), frame).item()
        model.set_basis(patch_components(patch_moment(frame)))
        after = density_error(model(frame), frame).item()
    assert after < 0.01 < before


def test_the_linear_start_generalises_to_another_crystal(frame):
    model = build()
    model.set_basis(patch_components(patch_moment(frame)))
    other = torch.from_numpy(to_frame(skewed((30, 36, 45)), "cell"))[None, None]
    with torch.inference_mode():
        assert density_error(model(other), other).item() < 0.1


@pytest.mark.parametrize("architecture", ["patch", "paper"])
def test_files_rebuild_the_network(frame, architecture):
    config = AutoencoderConfig(architecture=architecture, width=8, depth=1, periodic=architecture == "patch")
    model = build(config)
    files = autoencoder_files(model, config, "cell", {"recipe": {"name": "x"}})
    loaded = load_autoencoder(files)
    assert (loaded.frame, loaded.about["recipe"]["name"]) == ("cell", "x")
    for a, b in zip(model.state_dict().values(), loaded.model.state_dict().values(), strict=True):
        assert torch.equal(a, b)
    assert autoencoder_files(loaded.model, config, "cell", {"recipe": {"name": "x"}}) == files


def test_a_rebuilt_network_gives_identical_numbers(frame):
    model = stirred()
    loaded = load_autoencoder(autoencoder_files(model, SMALL, "cell", {}))
    assert not loaded.model.training
    with torch.inference_mode():
        assert torch.equal(model(frame), loaded.model(frame))


def damaged():
    files = autoencoder_files(build(), SMALL, "cell", {})
    about = json.loads(files[ABOUT])
    wider = {**about, "config": {**about["config"], "width": 16}}
    return {
        "no weights": {ABOUT: files[ABOUT]},
        "no about": {WEIGHTS: files[WEIGHTS]},
        "truncated weights": {**files, WEIGHTS: files[WEIGHTS][:-100]},
        "empty weights": {**files, WEIGHTS: b""},
        "not json": {**files, ABOUT: b"{"},
        "no frame": {**files, ABOUT: json.dumps({"config": about["config"]}).encode()},
        "another width": {**files, ABOUT: json.dumps(wider).encode()},
        "unknown option": {**files, ABOUT: json.dumps({**about, "config": {"depths": 3}}).encode()},
    }


@pytest.mark.parametrize("name", damaged())
def test_damaged_files(name):
    with pytest.raises(BundleError, match="not an autoencoder"):
        load_autoencoder(damaged()[name])


def test_latents_do_not_depend_on_their_company():
    trained = load_autoencoder(autoencoder_files(stirred(), SMALL, "cell", {}))
    densities = sample_densities(2)
    together = encode_densities(trained, densities)
    assert together.dtype == np.float32
    for i, density in enumerate(densities):
        np.testing.assert_array_equal(together[i : i + 1], encode_densities(trained, [density]))
    assert encode_densities(trained, []).shape == (0, 16, 16, 16, 16)


def test_losses_against_numpy():
    rng = np.random.default_rng(0)
    found, expected = rng.normal(1, 0.3, (3, 1, 4, 5, 6)), rng.uniform(0.5, 2, (3, 1, 4, 5, 6))
    tensors = torch.from_numpy(found), torch.from_numpy(expected)
    by_hand = [np.abs(f - e).sum() / e.sum() for f, e in zip(found, expected, strict=True)]
    np.testing.assert_allclose(density_error(*tensors), by_hand, rtol=1e-12)
    counts = [abs(f.sum() - e.sum()) / e.sum() for f, e in zip(found, expected, strict=True)]
    np.testing.assert_allclose(electron_error(*tensors), counts, rtol=1e-12)


def test_losses_of_the_truth_and_of_nothing():
    rho = torch.rand(2, 1, 4, 4, 4)
    assert density_error(rho, rho).tolist() == [0, 0]
    torch.testing.assert_close(density_error(0 * rho, rho), torch.ones(2))
