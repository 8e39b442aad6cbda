"""What a search tries next depends on finished rounds alone."""

import numpy as np
import pytest

from rhoray.tune.rounds import Trial, from_bytes, importances, limits, propose, to_bytes
from rhoray.tune.spaces import SPACES, lightgbm_space

SPACE = lightgbm_space()


def valley(params, number, complete=True):
    """A trial whose error has its minimum at a learning rate of 0.03."""
    error = 1 + abs(np.log(params["learning_rate"] / 0.03))
    return Trial(number, params, (error, error, error) if complete else (error,), 0.5, complete)


def search(rounds, seed=0, size=4):
    trials = []
    for _ in range(rounds):
        settings = propose(SPACE.search, SPACE.start, trials, size, seed)
        trials += [valley(params, len(trials) + i) for i, params in enumerate(settings)]
    return trials


def test_one_seed_gives_one_search():
    assert search(4) == search(4)
    assert search(4) != search(4, seed=1)


def test_the_first_setting_is_the_start():
    assert propose(SPACE.search, SPACE.start, [], 3, 0)[0] == SPACE.start


def test_no_setting_is_tried_twice():
    rates = [t.params["learning_rate"] for t in search(4)]
    assert len(set(rates)) == len(rates)


def test_it_learns_from_earlier_rounds():
    trials = search(10)
    late = [t.errors[-1] for t in trials[-12:]]
    early = [t.errors[-1] for t in trials[1:13]]
    assert np.median(late) < np.median(early)


def test_limits_are_what_half_of_the_finished_trials_reach():
    trials = [Trial(i, SPACE.start, (9.0, float(i), float(i)), 0.5, True) for i in range(5)]
    assert limits(trials, 3) == {2: 2.0}
    assert limits([], 3) == {}


def test_a_stopped_trial_counts_where_it_has_been():
    stopped = Trial(0, SPACE.start, (1.0, 7.0), 0.1, False)
    assert limits([stopped], 5) == {2: 7.0}


@pytest.mark.parametrize("name", SPACES)
def test_every_start_lies_in_its_space(name):
    space = SPACES[name]()
    assert space.search.keys() == space.start.keys()
    assert all(space.search[k].low <= v <= space.search[k].high for k, v in space.start.items())


def test_what_matters_is_found():
    assert next(iter(importances(SPACE.search, search(5), 0))) == "learning_rate"
    assert importances(SPACE.search, search(1)[:3], 0) == {}


def test_a_round_comes_back():
    trials = search(1)
    assert from_bytes(to_bytes(trials)) == trials
