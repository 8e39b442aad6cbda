"""Ensembles of trees, networks and kernels: the mean they promise, and the way to bytes and back."""

import lightgbm
import numpy as np
import pytest

from rhoray.core.errors import BundleError
from rhoray.models.boosted_trees import BoostedTrees
from rhoray.models.ensemble import ENSEMBLE, Ensemble, load_ensemble
from rhoray.models.kernel import Kernel, load_kernel
from rhoray.models.network import Networks, load_networks
from rhoray.models.regressor import ABOUT, About, Regressor, load_regressor
from rhoray.models.scaling import FAR, fit_scaling

RNG = np.random.default_rng(0)
X = RNG.normal(size=(80, 6)) * [1, 10, 0.1, 1, 1, 0] + [0, 5, 0, 0, 0, 3]
Y = X[:, 0] + 0.1 * X[:, 1]
SCALING = fit_scaling(X)


def networks(seeds=3):
    shapes = [(5, 8), (8, 4), (4, 1)]
    weights = tuple(RNG.normal(size=(seeds, *s)).astype(np.float16) for s in shapes)
    return Networks(
        SCALING, weights, tuple(RNG.normal(size=(seeds, s[1])).astype(np.float16) for s in shapes), 2.0, 0.5
    )


def kernel():
    points = RNG.normal(size=(20, 5)).astype(np.float16)
    return Kernel(SCALING, np.full(5, 0.3), 1.2, points, RNG.normal(size=20), RNG.normal(size=5), 1.0, 0.5)


def trees():
    params = {"objective": "l2", "verbosity": -1, "num_threads": 1, "min_child_samples": 3}
    return BoostedTrees("lightgbm", lightgbm.train(params, lightgbm.Dataset(X, Y), 10))


def ensemble():
    return Ensemble({"a": networks(), "b": kernel(), "c": trees()}, {"a": 0.5, "b": 0.3, "c": 0.2})


def about(**changes):
    values = {
        "target": "bulk_modulus", "unit": "GPa", "kind": ENSEMBLE, "log": True, "blocks": ["cell"],
        "labels": [f"cell.{i}" for i in range(6)], "params": {"shares": {"a": 0.5, "b": 0.3, "c": 0.2}},
        "metrics": {"r2": 0.9}, "encoder": None, "count": 80, "seed": 0,
    }  # fmt: skip
    return About(**{**values, **changes})


def test_scaling_leaves_out_what_never_changes():
    assert SCALING.columns.tolist() == [0, 1, 2, 3, 4]
    standard = SCALING.standard(X)
    np.testing.assert_allclose(standard.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(standard.std(axis=0), 1)


def test_squashed_outliers_end():
    wild = np.array([[np.inf, 1e9, np.nan, -1e9, 0.0, 3.0]])
    squashed = SCALING.squashed(wild)[0]
    assert squashed[[1, 3]].tolist() == [FAR, -FAR]
    assert squashed[[0, 2]].tolist() == [0, 0]


def test_a_network_against_the_formula():
    model = networks(1)
    x = SCALING.squashed(X)
    for layer, (w, b) in enumerate(zip(model.weights, model.biases, strict=True)):
        x = x @ w[0].astype(float) + b[0].astype(float)
        x = x / (1 + np.exp(-x)) if layer < 2 else x
    np.testing.assert_allclose(model.predict(X), 0.5 * x[:, 0] + 2.0, rtol=1e-4, atol=1e-5)


def test_networks_are_their_seeds_mean():
    model = networks(3)
    singles = [
        Networks(SCALING, tuple(w[[i]] for w in model.weights), tuple(b[[i]] for b in model.biases), 2.0, 0.5).predict(
            X
        )
        for i in range(3)
    ]
    np.testing.assert_allclose(model.predict(X), np.mean(singles, axis=0), rtol=1e-6)


def test_a_kernel_against_the_formula():
    model = kernel()
    x = SCALING.squashed(X[:1])[0] * model.near
    r = np.sqrt(5) * np.linalg.norm(model.points.astype(float) - x, axis=1)
    near = (1.2 * (1 + r + r**2 / 3) * np.exp(-r)) @ model.coefficients
    linear = SCALING.standard(X[:1])[0] @ model.gradient
    assert model.predict(X[:1])[0] == pytest.approx(0.5 * (near + linear) + 1.0)


def test_an_ensemble_is_a_weighted_mean():
    model = ensemble()
    each = {name: member.predict(X) for name, member in model.members.items()}
    mean = 0.5 * each["a"] + 0.3 * each["b"] + 0.2 * each["c"]
    np.testing.assert_allclose(model.predict(X), mean)


def test_an_ensemble_is_one_folder():
    regressor = Regressor(about(), ensemble())
    files = regressor.to_files()
    assert set(files) == {ABOUT, "a.network.safetensors", "b.kernel.safetensors", "c.model.txt"}
    loaded = load_regressor(files)
    assert loaded.about == regressor.about
    np.testing.assert_array_equal(loaded.predict(X), np.exp(loaded.model.predict(X)))
    np.testing.assert_array_equal(loaded.predict(X), regressor.predict(X))


@pytest.mark.parametrize("name", ["a.network.safetensors", "b.kernel.safetensors", "c.model.txt"])
def test_a_missing_or_damaged_member(name):
    files = Regressor(about(), ensemble()).to_files()
    with pytest.raises(BundleError, match=f"member '{name[0]}'"):
        load_regressor({n: c for n, c in files.items() if n != name})
    with pytest.raises(BundleError, match="not a"):
        load_regressor({**files, name: b"no model"})


def test_shares_that_are_missing():
    files = Regressor(about(params={}), ensemble()).to_files()
    with pytest.raises(BundleError, match="not a regressor"):
        load_regressor(files)


@pytest.mark.parametrize("load", [load_networks, load_kernel])
def test_bytes_that_are_no_model(load):
    with pytest.raises(BundleError, match="not a"):
        load(b"")


def test_one_row_at_a_time():
    model = ensemble()
    found = np.concatenate([model.predict(x[None]) for x in X[:5]])
    np.testing.assert_allclose(found, model.predict(X[:5]), rtol=1e-6)


def test_an_unknown_member_file():
    with pytest.raises(BundleError, match="member 'a'"):
        load_ensemble({"a.model.pkl": b""}, {"a": 1.0})
