"""Where residuals are large: learned from residuals, without seeing those that are judged."""

import numpy as np
import pytest

from rhoray.core.errors import BundleError
from rhoray.evaluate.protocol import grouped_folds
from rhoray.models.difficulty import fit_difficulty, load_difficulty, spread_out_of_fold

RNG = np.random.default_rng(0)
FEATURES = RNG.normal(size=(1500, 6))
SIZE = np.exp(FEATURES[:, 2])
RESIDUALS = SIZE * RNG.normal(size=1500)
PREDICTIONS = RNG.normal(size=1500)
LABELS = tuple(f"x{i}" for i in range(6))


@pytest.fixture(scope="module")
def difficulty():
    return fit_difficulty(LABELS, FEATURES[:1000], PREDICTIONS[:1000], RESIDUALS[:1000])


def test_it_finds_where_residuals_are_large(difficulty):
    found = difficulty.spread(FEATURES[1000:], PREDICTIONS[1000:])
    assert np.corrcoef(np.log(found), FEATURES[1000:, 2])[0, 1] > 0.9


def test_it_comes_back(difficulty):
    again = load_difficulty(difficulty.to_bytes())
    assert again.labels == LABELS
    np.testing.assert_array_equal(again.spread(FEATURES, PREDICTIONS), difficulty.spread(FEATURES, PREDICTIONS))


@pytest.mark.parametrize("content", [b"", b"[]\ntree", b'{"labels": []}\nno trees', b"\xff\n"])
def test_a_damaged_file(content):
    with pytest.raises(BundleError, match="model of residuals"):
        load_difficulty(content)


def test_a_residual_does_not_judge_itself():
    folds = grouped_folds([str(i) for i in range(300)], count=5, seed=0)
    before = spread_out_of_fold(folds, FEATURES[:300], PREDICTIONS[:300], RESIDUALS[:300])
    test = folds[0][1]
    changed = RESIDUALS[:300].copy()
    changed[test] *= 100
    after = spread_out_of_fold(folds, FEATURES[:300], PREDICTIONS[:300], changed)
    np.testing.assert_array_equal(before[test], after[test])
    assert not np.array_equal(before, after)
