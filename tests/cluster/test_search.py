"""A search on Ray: the same twice, and the same when its driver was killed in the middle."""

import subprocess
import sys
import time

import pytest

from rhoray.core.storage import exists, find
from rhoray.tune.trials import predictions_of
from tests.unit.tune_builders import TRIALS, search

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def undisturbed(cluster, bucket):
    return search(f"{bucket}/search/undisturbed")


def test_the_same_seed_gives_the_same_trials(undisturbed, bucket):
    again = search(f"{bucket}/search/again")
    assert again == undisturbed
    best = min((t for t in again if t.complete), key=lambda t: t.errors[-1])
    assert (
        predictions_of(f"{bucket}/search/again", best) == predictions_of(f"{bucket}/search/undisturbed", best)
    ).all()


def test_some_trials_are_stopped_early_and_some_are_not(undisturbed):
    assert len(undisturbed) == TRIALS
    assert {t.complete for t in undisturbed} == {True, False}


def test_killed_and_resumed_it_finishes_the_same_trials(undisturbed, bucket, root):
    out = f"{bucket}/search/killed"
    process = subprocess.Popen([sys.executable, "-m", "tests.unit.tune_builders", out], cwd=root)
    while not exists(f"{out}/round-0000-2.json"):
        assert process.poll() is None, "it ended before it could be killed"
        time.sleep(0.1)
    time.sleep(0.7)
    assert process.poll() is None
    process.kill()
    process.wait()
    assert len([s for s in find(out) if "/round-" in s.uri]) < TRIALS // 2
    assert search(out, resume=True) == undisturbed
