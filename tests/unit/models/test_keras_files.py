"""Weights from Keras 2: files of its layout, made here; the forward pass against NumPy and SciPy alone."""

import json

import h5py
import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import nn

from rhoray.core.errors import BundleError
from rhoray.models.autoencoder import PaperAutoencoder, load_keras

ENCODER = [("conv3d", 1, 16), ("conv3d_1", 16, 32), ("conv3d_2", 32, 32), ("latent", 32, 16)]
DECODER = [("conv3d_3", 16, 32), ("conv3d_4", 32, 32), ("conv3d_5", 32, 16), ("conv3d_6", 16, 1)]


def arrays(layers, seed=0, kernel=3):
    rng = np.random.default_rng(seed)
    return {
        name: (
            rng.normal(0, 1 / np.sqrt(27 * a), (kernel, kernel, kernel, a, b)).astype("f4"),
            rng.normal(0, 0.1, b).astype("f4"),
        )
        for name, a, b in layers
    }


def names(values):
    return np.array([v.encode() for v in values])


def write_layer(group, weights):
    group.attrs["weight_names"] = names(f"{n}/{part}:0" for n in weights for part in ("kernel", "bias"))
    for name, (kernel, bias) in weights.items():
        group[f"{name}/kernel:0"] = kernel
        group[f"{name}/bias:0"] = bias


def write_flat(path, layers, weights, *, whole=True, activation="relu"):
    """Write one model whose layers stand side by side, those without weights (input, pooling) too."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights") if whole else file
        root.attrs["layer_names"] = names(["input_1", "max_pooling3d", *(n for n, _, _ in layers)])
        root.attrs["backend"] = b"tensorflow"
        root.attrs["keras_version"] = b"2.13.1"
        for empty in ("input_1", "max_pooling3d"):
            root.create_group(empty).attrs["weight_names"] = np.zeros(0)
        for name, _, _ in layers:
            write_layer(root.create_group(name), {name: weights[name]})
        if whole:
            config = {"name": "model", "layers": [conv_config(n, b, activation) for n, _, b in layers]}
            file.attrs["model_config"] = json.dumps({"class_name": "Functional", "config": config})


def conv_config(name, filters, activation="relu"):
    config = {
        "name": name, "filters": filters, "kernel_size": [3, 3, 3], "strides": [1, 1, 1], "padding": "same",
        "dilation_rate": [1, 1, 1], "groups": 1, "use_bias": True,
        "activation": "linear" if filters == 1 else activation,
    }  # fmt: skip
    return {"class_name": "Conv3D", "config": config}


def write_nested(path, weights):
    """Write an autoencoder that holds an encoder and a decoder, each a model of its own."""
    with h5py.File(path, "w") as file:
        root = file.create_group("model_weights")
        root.attrs["layer_names"] = names(["input_3", "encoder", "decoder"])
        root.create_group("input_3").attrs["weight_names"] = np.zeros(0)
        for part, layers in (("encoder", ENCODER), ("decoder", DECODER)):
            write_layer(root.create_group(part), {n: weights[n] for n, _, _ in layers})


def by_hand(values, kernel, bias):
    """Return a Keras convolution of (channels, n, n, n): correlate each pair of channels, zeros outside."""
    out = np.stack([np.full(values.shape[1:], b, float) for b in bias])
    for i, channel in enumerate(values):
        for o in range(kernel.shape[-1]):
            out[o] += ndimage.correlate(channel.astype(float), kernel[..., i, o].astype(float), mode="constant")
    return out


def encode_by_hand(values, weights):
    for index, (name, _, _) in enumerate(ENCODER):
        values = np.maximum(by_hand(values, *weights[name]), 0)
        if index < 3:
            c, n = values.shape[0], values.shape[1] // 2
            values = values.reshape(c, n, 2, n, 2, n, 2).max(axis=(2, 4, 6))
    return values


def decode_by_hand(values, weights):
    for name, _, _ in DECODER[:3]:
        values = np.maximum(by_hand(values, *weights[name]), 0)
        values = values.repeat(2, 1).repeat(2, 2).repeat(2, 3)
    return by_hand(values, *weights["conv3d_6"])


@pytest.fixture(scope="module")
def weights():
    return arrays([*ENCODER, *DECODER])


@pytest.mark.parametrize("layout", ["whole", "weights alone", "nested"])
def test_a_whole_network_computes_what_keras_would(tmp_path, weights, layout):
    if layout == "nested":
        write_nested(tmp_path / "ae.h5", weights)
    else:
        write_flat(tmp_path / "ae.h5", [*ENCODER, *DECODER], weights, whole=layout == "whole")
    network = load_keras(tmp_path / "ae.h5")
    assert isinstance(network, PaperAutoencoder)
    assert not network.training
    values = np.random.default_rng(1).uniform(0, 1, (1, 8, 8, 8))
    expected = decode_by_hand(encode_by_hand(values, weights), weights)
    with torch.inference_mode():  # 8^3 voxels, so past the check that frames are of 128^3
        found = network.decoder(network.encoder(torch.from_numpy(values[None]).float()))[0].numpy()
    np.testing.assert_allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("layers", "by_hand_of", "channels"),
    [(ENCODER, encode_by_hand, 1), (DECODER, decode_by_hand, 16)],
    ids=["encoder", "decoder"],
)
def test_half_a_network(tmp_path, weights, layers, by_hand_of, channels):
    write_flat(tmp_path / "half.h5", layers, weights)
    network = load_keras(str(tmp_path / "half.h5"))
    assert isinstance(network, nn.Sequential)
    values = np.random.default_rng(1).uniform(0, 1, (channels, 8, 8, 8))
    with torch.inference_mode():
        found = network(torch.from_numpy(values[None]).float())[0].numpy()
    np.testing.assert_allclose(found, by_hand_of(values, weights), atol=1e-5)


def write_dense(path):
    with h5py.File(path, "w") as file:
        file.attrs["layer_names"] = names(["dense"])
        write_layer(file.create_group("dense"), {"dense": (np.zeros((4, 2), "f4"), np.zeros(2, "f4"))})


def write_nothing(path):
    with h5py.File(path, "w") as file:
        file["x"] = [1]


WRONG = {
    "another width": (
        lambda p: write_flat(p, [("c", 1, 8)], arrays([("c", 1, 8)])),
        r"c \(3, 3, 3\) \(1, 8\), expected",
    ),
    "another kernel": (lambda p: write_flat(p, ENCODER, arrays(ENCODER, kernel=5)), r"conv3d \(5, 5, 5\)"),
    "too few layers": (lambda p: write_flat(p, ENCODER[:3], arrays(ENCODER[:3])), "first or last four"),
    "a dense layer": (write_dense, r"dense/kernel:0 \(4, 2\).*expected a 3D convolution"),
    "another activation": (lambda p: write_flat(p, ENCODER, arrays(ENCODER), activation="elu"), "activation elu"),
    "no Keras file": (write_nothing, "no layer_names"),
    "no HDF5 file": (lambda p: p.write_bytes(b"x" * 100), "not a Keras 2 file"),
    "no file": (str, "not a Keras 2 file"),
}


@pytest.mark.parametrize("name", WRONG)
def test_other_files_are_refused_with_what_they_hold(tmp_path, name):
    write, reason = WRONG[name]
    write(tmp_path / "x.h5")
    with pytest.raises(BundleError, match=reason):
        load_keras(tmp_path / "x.h5")
