"""Boosted trees and what is known of them survive the way to bytes and back."""

import dataclasses
import json

import lightgbm
import numpy as np
import pytest
import xgboost

from rhoray.core.errors import BundleError
from rhoray.models.boosted_trees import FILE_NAMES, BoostedTrees, load_trees
from rhoray.models.domain import domain_from_json, fit_domain
from rhoray.models.regressor import ABOUT, About, Regressor, from_model_scale, load_regressor, to_model_scale
from tests.unit.builders import salt

RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 5))
Y = X[:, 0] + 0.5 * X[:, 1] ** 2


def fit(kind):
    if kind == "lightgbm":
        params = {"objective": "l2", "verbosity": -1, "num_threads": 1, "min_child_samples": 3}
        return BoostedTrees(kind, lightgbm.train(params, lightgbm.Dataset(X, Y), 30))
    return BoostedTrees(kind, xgboost.train({"nthread": 1}, xgboost.DMatrix(X, Y), 30))


def about(**changes):
    values = {
        "target": "bulk_modulus", "unit": "GPa", "kind": "lightgbm", "log": True, "blocks": ["magpie"],
        "labels": [f"magpie.{i}" for i in range(5)], "params": {"rounds": 30}, "metrics": {"r2": 0.9},
        "encoder": None, "count": 120, "seed": 0,
    }  # fmt: skip
    return About(**{**values, **changes})


each = pytest.mark.parametrize("kind", FILE_NAMES)


@each
def test_trees_come_back_to_the_last_bit(kind):
    trees = fit(kind)
    assert np.corrcoef(trees.predict(X), Y)[0, 1] > 0.95
    np.testing.assert_array_equal(load_trees(kind, trees.to_bytes()).predict(X), trees.predict(X))


@each
def test_one_row_at_a_time(kind):
    trees = fit(kind)
    np.testing.assert_array_equal(trees.predict(X[:10]), np.concatenate([trees.predict(x[None]) for x in X[:10]]))


@each
@pytest.mark.parametrize("content", [b"", b"no model", b"\xff\x00\xfe"], ids=["empty", "text", "binary"])
def test_bytes_that_are_no_model(kind, content):
    with pytest.raises(BundleError, match=f"not a {kind} model"):
        load_trees(kind, content)


def test_an_unknown_kind():
    with pytest.raises(BundleError, match="lightgbm, xgboost"):
        load_trees("catboost", b"")


@each
def test_a_regressor_is_two_files(kind):
    regressor = Regressor(about(kind=kind), fit(kind))
    files = regressor.to_files()
    loaded = load_regressor(files)
    assert set(files) == {ABOUT, FILE_NAMES[kind]}
    assert loaded.about == regressor.about
    np.testing.assert_array_equal(loaded.predict(X), regressor.predict(X))


def test_log_targets_come_back_positive():
    trees = fit("lightgbm")
    np.testing.assert_array_equal(Regressor(about(), trees).predict(X), np.exp(trees.predict(X)))
    np.testing.assert_array_equal(Regressor(about(log=False), trees).predict(X), trees.predict(X))


@pytest.mark.parametrize("log", [False, True])
def test_scales_invert_each_other(log):
    values = np.array([0.1, 1.0, 420.0])
    np.testing.assert_allclose(from_model_scale(to_model_scale(values, log=log), log=log), values, rtol=1e-14)


def test_a_target_of_ones_own_keeps_its_unit():
    assert Regressor(about(target="band_gap", unit="eV"), fit("lightgbm")).target.unit == "eV"


@pytest.mark.parametrize("missing", [ABOUT, "model.txt"])
def test_a_missing_file(missing):
    files = Regressor(about(), fit("lightgbm")).to_files()
    with pytest.raises(BundleError, match="not a regressor"):
        load_regressor({name: content for name, content in files.items() if name != missing})


@pytest.mark.parametrize("content", [b"", b"[]", b'{"target": "x"}', json.dumps({"kind": 3}).encode()])
def test_a_damaged_about(content):
    files = Regressor(about(), fit("lightgbm")).to_files()
    with pytest.raises(BundleError, match="not a regressor"):
        load_regressor({**files, ABOUT: content})


LABELS = ("density.volume_per_atom", *(f"x{i}" for i in range(39)))
TRAINING = np.random.default_rng(1).uniform(10, 20, (300, 40))
FITTED = fit_domain(["Na", "Cl", "Na"], LABELS, TRAINING)
# The span alone: a corner of it is far from everything (tests/unit/models/test_domain.py has distances).
DOMAIN = dataclasses.replace(FITTED, distance=None)
MIDDLE = np.full(40, 15.0)


def test_a_crystal_like_the_others():
    assert DOMAIN.reasons(salt(), MIDDLE) == ()
    assert DOMAIN.elements == ("Cl", "Na")


def test_an_element_it_has_not_seen():
    (reason,) = fit_domain(["Na"], LABELS, TRAINING).reasons(salt(), MIDDLE)
    assert reason == "the model has seen no compound of Cl"


def test_a_named_number_out_of_its_span():
    features = MIDDLE.copy()
    features[0] = 40
    (reason,) = DOMAIN.reasons(salt(), features)
    assert reason.startswith("volume per atom in A^3 is 40, in training 10")


def test_many_numbers_out_of_their_span():
    features = MIDDLE.copy()
    features[1:11] = -5
    assert DOMAIN.reasons(salt(), features) == ("25% of its features lie outside the training crystals' span",)


@pytest.mark.parametrize("value", [9.4, 20.6])
def test_a_little_outside_is_tolerated(value):
    assert DOMAIN.reasons(salt(), np.full(40, value)) == ()


def test_two_stray_numbers_are_tolerated():
    features = MIDDLE.copy()
    features[[3, 8]] = 1e9
    assert DOMAIN.reasons(salt(), features) == ()


def test_a_kind_of_density_it_has_not_seen():
    superposed = dataclasses.replace(salt(), kind="promolecular")
    (reason,) = DOMAIN.reasons(superposed, MIDDLE)
    assert reason == "this density is promolecular, the model was trained on dft ones"
    both = fit_domain(["Na", "Cl"], LABELS, TRAINING, ["promolecular", "dft", "dft"])
    assert both.reasons(superposed, MIDDLE) == both.reasons(salt(), MIDDLE) == ()


def test_a_domain_without_kinds_was_trained_on_dft():
    raw = {name: values for name, values in DOMAIN.to_json().items() if name != "kinds"}
    assert domain_from_json(raw).to_json() == DOMAIN.to_json()


def test_a_domain_comes_back():
    found = domain_from_json(json.loads(json.dumps(FITTED.to_json())))
    assert found.to_json() == FITTED.to_json()
    np.testing.assert_allclose(found.lowest, FITTED.lowest, rtol=1e-3)


def test_nan_is_outside():
    assert DOMAIN.reasons(salt(), np.full(40, np.nan))
