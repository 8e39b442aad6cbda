"""The attention network learns from volume and table, forgets the origin, and comes back from its file."""

import numpy as np
import pytest
import torch

from rhoray.core.errors import BundleError
from rhoray.features.volume import VOLUME_BLOCK
from rhoray.models.attention_cnn import (
    NUM_VOLUME,
    AttentionConfig,
    AttentionNetwork,
    DualAttention,
    fit_scales,
    load_attention_cnn,
)
from rhoray.models.regressor import About, Regressor, load_regressor
from rhoray.train.attention_cnn import fit_attention_cnn
from tests.unit.builders import salt

PARAMS = {"epochs": 12, "learning_rate": 3e-3, "weight_decay": 1e-3, "width": 8, "dropout": 0.0}
COUNT = 160
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def rows():
    volume = 0.3 * RNG.normal(size=(COUNT, 16, 8, 8, 8))
    level = RNG.normal(size=COUNT)
    volume[:, 0] += level[:, None, None, None]
    table = RNG.normal(size=(COUNT, 5))
    return np.hstack([volume.reshape(COUNT, -1), table]), 100 + 20 * (level + table[:, 0])


@pytest.fixture(scope="module")
def model(rows):
    features, values = rows
    return fit_attention_cnn(features[:120], values[:120], PARAMS, 0)


def test_it_learns_from_both_of_its_inputs(model, rows):
    features, values = rows
    found = model.predict(features[120:])
    assert np.corrcoef(found, values[120:])[0, 1] > 0.9
    assert np.abs(found - values[120:]).mean() < 15


def test_the_same_seed_gives_the_same_network(model, rows):
    again = fit_attention_cnn(rows[0][:120], rows[1][:120], PARAMS, 0)
    np.testing.assert_array_equal(again.predict(rows[0]), model.predict(rows[0]))


def test_it_comes_back(model, rows):
    again = load_attention_cnn(model.to_bytes())
    assert again.config == model.config
    np.testing.assert_array_equal(again.predict(rows[0]), model.predict(rows[0]))


@pytest.mark.parametrize("content", [b"", b"nonsense", b"\x02\x00\x00\x00\x00\x00\x00\x00{}"])
def test_a_damaged_file(content):
    with pytest.raises(BundleError, match="not an attention_cnn"):
        load_attention_cnn(content)


def test_moving_the_origin_by_two_positions_changes_nothing():
    network = AttentionNetwork(AttentionConfig(3, width=8)).eval()
    volume, table = torch.randn(2, 16, 8, 8, 8), torch.randn(2, 3)
    with torch.inference_mode():
        expected = network(volume, table)
        shifted = network(torch.roll(volume, (2, 4, 6), (2, 3, 4)), table)
    torch.testing.assert_close(shifted, expected, rtol=1e-4, atol=1e-5)


def test_attention_only_ever_dampens():
    x = torch.randn(2, 8, 4, 4, 4)
    assert (DualAttention(8)(x).abs() <= x.abs()).all()


def test_scales_come_from_the_rows_that_are_given(rows):
    features, values = rows
    assert fit_scales(features[:50], values[:50])["target"][0] == values[:50].mean()


def test_the_volume_is_the_latent_in_blocks_of_eight():
    latent = RNG.normal(size=(16, 16, 16, 16))
    found = VOLUME_BLOCK(salt(), latent).reshape(16, 8, 8, 8)
    assert found[3, 1, 2, 5] == pytest.approx(latent[3, 2:4, 4:6, 10:12].mean())
    assert found.size == NUM_VOLUME


def test_a_regressor_of_it_comes_back(model, rows):
    about = About(
        "bulk_modulus", "GPa", "attention_cnn", False, ["latent_volume"], ["x"], dict(PARAMS), {}, None, 120, 0
    )
    again = load_regressor(Regressor(about, model).to_files())
    np.testing.assert_array_equal(again.predict(rows[0]), model.predict(rows[0]))
