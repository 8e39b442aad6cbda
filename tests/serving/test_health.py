"""Work is proof of health; without any, a replica has to do some, and in time."""

import asyncio
import time

import pytest

from serve.health import Proof


def counting(result=None):
    calls = []

    def probe():
        calls.append(1)
        if isinstance(result, Exception):
            raise result

    return probe, calls


def test_a_replica_that_did_nothing_has_to_probe():
    probe, calls = counting()
    proof = Proof(probe)
    asyncio.run(proof.check())
    asyncio.run(proof.check())
    assert len(calls) == 1, "a probe that went well is proof, too"


def test_real_work_is_proof():
    probe, calls = counting(RuntimeError("never asked"))
    proof = Proof(probe)
    proof.worked()
    asyncio.run(proof.check())
    assert calls == []


def test_proof_does_not_last():
    probe, calls = counting()
    proof = Proof(probe, lasts=0.0)
    proof.worked()
    asyncio.run(proof.check())
    assert len(calls) == 1


def test_an_unexpected_error_takes_the_proof_away():
    probe, _ = counting(RuntimeError("the model gives NaN"))
    proof = Proof(probe)
    proof.worked()
    proof.failed()
    with pytest.raises(RuntimeError, match="NaN"):
        asyncio.run(proof.check())


def test_a_probe_that_hangs_is_no_proof():
    proof = Proof(lambda: time.sleep(0.5), deadline=0.05)
    with pytest.raises(TimeoutError):
        asyncio.run(proof.check())
