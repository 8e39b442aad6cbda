"""A few hundred of the fuzzer's damaged files: a density or a refusal, nothing else (benchmarks/fuzz_readers.py)."""

import importlib
import sys

import numpy as np
import pytest


@pytest.fixture(scope="module")
def fuzzer(root):
    sys.path.insert(0, str(root / "benchmarks"))
    yield importlib.import_module("fuzz_readers")
    sys.path.remove(str(root / "benchmarks"))


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("seed", range(6))
def test_damaged_files_never_crash(fuzzer, seed):
    rng, seeds = np.random.default_rng(seed), fuzzer.seeds()
    outcomes = {fuzzer.outcome(fuzzer.mutated(seeds, fuzzer.PACKERS, rng)) for _ in range(100)}
    assert len(outcomes) > 15


def test_the_same_seed_gives_the_same_files(fuzzer):
    first, again = (
        [fuzzer.mutated(fuzzer.seeds(), fuzzer.PACKERS, np.random.default_rng(7)) for _ in range(3)] for _ in range(2)
    )
    assert first == again
