"""Convolutions from the HDF5 files that Keras 2 writes (`model.save("x.h5")`, `save_weights("x.h5")`).

A whole model keeps its weights below `model_weights`, a weights file at the top. Each layer is a group, in the order of
the attribute `layer_names`; its attribute `weight_names` lists its arrays, with those of a model inside the model
all in one group. A 3D kernel is (ka, kb, kc, channels in, channels out). The architecture stands as JSON in
`model_config`, if at all.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import h5py
import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from rhoray.core.errors import BundleError

WEIGHTS = "model_weights"
KERNEL = 5  # axes of a 3D convolution's kernel
FIXED = {"padding": "same", "strides": [1, 1, 1], "dilation_rate": [1, 1, 1], "groups": 1, "use_bias": True}


class Convolution(NamedTuple):
    """One layer's arrays as torch wants them.

    Attributes:
        name: of the layer in the file.
        kernel: (channels out, channels in, ka, kb, kc).
        bias: (channels out).
    """

    name: str
    kernel: Float[Tensor, "out inner ka kb kc"]
    bias: Float[Tensor, " out"]

    @property
    def channels(self) -> tuple[int, int]:
        """Channels in and out."""
        return self.kernel.shape[1], self.kernel.shape[0]


def read_convolutions(path: str | Path) -> list[Convolution]:
    """Return the convolutions of a Keras 2 file, first to last.

    Raises:
        BundleError: no such file, not of Keras 2, a layer of another kind, or arrays that do not fit each other.
    """
    try:
        with h5py.File(path, "r") as file:
            root = file.get(WEIGHTS, file)
            if "layer_names" not in root.attrs:
                raise BundleError(f"{path}: no layer_names in {root.name}, expected a file that Keras 2 wrote")
            _check_config(file.attrs.get("model_config"), str(path))
            return [layer for name in _names(root, "layer_names") for layer in _of_group(root[name], str(path))]
    except (OSError, KeyError) as error:
        raise BundleError(f"{path}: not a Keras 2 file: {error}") from error


def _names(group: h5py.Group, attribute: str) -> list[str]:
    """Return an attribute that is a list of names, which Keras splits into parts when it is long."""
    parts = [group.attrs[attribute]] if attribute in group.attrs else []
    parts += [group.attrs[key] for key in sorted(k for k in group.attrs if k.startswith(attribute) and k != attribute)]
    return [n.decode() if isinstance(n, bytes) else str(n) for part in parts for n in part]


def _of_group(group: h5py.Group, path: str) -> Iterator[Convolution]:
    names = _names(group, "weight_names")
    if len(names) % 2:
        raise BundleError(f"{path}: {group.name} has arrays {names}, expected pairs of kernel and bias")
    for kernel_name, bias_name in zip(names[::2], names[1::2], strict=True):
        kernel, bias = np.asarray(group[kernel_name], np.float32), np.asarray(group[bias_name], np.float32)
        if kernel.ndim != KERNEL or bias.shape != kernel.shape[-1:]:
            raise BundleError(
                f"{path}: {kernel_name} {kernel.shape} and {bias_name} {bias.shape}, expected a 3D convolution's "
                "kernel (ka, kb, kc, in, out) and bias (out)"
            )
        layer = torch.from_numpy(kernel.transpose(4, 3, 0, 1, 2).copy())
        yield Convolution(kernel_name.split("/")[0], layer, torch.from_numpy(bias.copy()))


def _check_config(config: Any, path: str) -> None:  # noqa: ANN401 - bytes, str or None, as h5py has it
    """Refuse convolutions that arrays alone would not show to be different: strides, padding, activation."""
    if config is None:
        return
    layers = list(_layers(json.loads(config)))
    found = [layer["config"] for layer in layers if layer.get("class_name") == "Conv3D"]
    for conv in found:
        for key, expected in FIXED.items():
            value = conv.get(key, expected)
            if (list(value) if isinstance(value, tuple) else value) != expected:
                raise BundleError(f"{path}: {conv.get('name')} has {key} {value}, expected {expected}")
        last = conv.get("filters") == 1
        if (activation := conv.get("activation", "linear")) != ("linear" if last else "relu"):
            raise BundleError(f"{path}: {conv.get('name')} has activation {activation}")


def _layers(config: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield all layers of a model's JSON, those of models inside it too."""
    inner = config.get("config")
    layers = inner.get("layers", []) if isinstance(inner, dict) else inner if isinstance(inner, list) else []
    for layer in layers:
        yield layer
        yield from _layers(layer)
