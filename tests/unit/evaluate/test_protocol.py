"""Folds that keep formulas together, and predictions by models that have not seen the row."""

from collections import Counter

import numpy as np
import pytest

from rhoray.evaluate.protocol import fold_predictions, grouped_folds, out_of_fold

FORMULAS = [f"A{i}" for i in np.random.default_rng(0).integers(0, 23, 100)]


@pytest.mark.parametrize("count", [2, 5, 10])
@pytest.mark.parametrize("seed", [0, 1])
def test_no_formula_stands_on_both_sides(count, seed):
    folds = grouped_folds(FORMULAS, count=count, seed=seed)
    assert len(folds) == count
    for train, test in folds:
        assert not {FORMULAS[i] for i in train} & {FORMULAS[i] for i in test}


def test_every_row_is_tested_once_and_trained_on_otherwise():
    folds = grouped_folds(FORMULAS, count=5, seed=0)
    assert Counter(int(i) for _, test in folds for i in test) == dict.fromkeys(range(100), 1)
    assert all(sorted([*train, *test]) == list(range(100)) for train, test in folds)


def test_fewer_formulas_than_folds():
    folds = grouped_folds(["Si", "C", "Si", "Ge", "C"], count=10, seed=0)
    assert sorted(tuple(test.tolist()) for _, test in folds) == [(0, 2), (1, 4), (3,)]


def test_the_seed_decides():
    first, again, other = ([t.tolist() for _, t in grouped_folds(FORMULAS, count=5, seed=s)] for s in (0, 0, 1))
    assert first == again != other


def test_one_formula_alone_can_not_be_split():
    with pytest.raises(ValueError, match="at least one train/test split"):
        grouped_folds(["Si"] * 5, count=5, seed=0)


def test_no_row_is_predicted_by_a_model_that_saw_it():
    folds = grouped_folds(FORMULAS, count=5, seed=0)
    seen = np.zeros((100, 100), bool)  # [row, row the model saw]

    def remember(train, test):
        seen[np.ix_(test, train)] = True
        return test.astype(float)

    np.testing.assert_array_equal(out_of_fold(folds, remember, 100), np.arange(100.0))
    same = np.array(FORMULAS)[:, None] == np.array(FORMULAS)[None]
    assert not (seen & same).any()


def test_leaking_is_impossible_to_profit_from():
    labels = np.random.default_rng(1).normal(size=100)

    def memorise(train, test):
        known = {FORMULAS[i]: labels[i] for i in train}
        return np.array([known.get(FORMULAS[i], 0.0) for i in test])

    assert not out_of_fold(grouped_folds(FORMULAS, count=5, seed=0), memorise, 100).any()


def test_a_row_in_no_fold_stays_unknown():
    found = out_of_fold([(np.array([0]), np.array([1]))], lambda _, test: np.ones(len(test)), 3)
    np.testing.assert_array_equal(found, [np.nan, 1, np.nan])


def test_folds_are_fitted_one_at_a_time():
    fitted = []
    folds = grouped_folds(FORMULAS, count=5, seed=0)
    steps = fold_predictions(folds, lambda _, test: fitted.append(len(test)) or np.zeros(len(test)))
    assert fitted == []
    next(steps)
    assert fitted == [len(folds[0][1])]
