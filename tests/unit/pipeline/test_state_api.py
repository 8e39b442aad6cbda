"""Whom a Ray's actors ask about each other."""

import contextlib
import os

import pytest

from rhoray.pipeline.cluster import NO_STATE_API, STATE_API_VARIABLE, state_api


@pytest.mark.parametrize("before", [None, "http://another.example:8265"])
def test_what_starts_inside_is_told_and_what_starts_later_is_not(monkeypatch, before):
    if before is None:
        monkeypatch.delenv(STATE_API_VARIABLE, raising=False)
    else:
        monkeypatch.setenv(STATE_API_VARIABLE, before)
    with contextlib.suppress(OSError), state_api(NO_STATE_API):
        assert os.environ[STATE_API_VARIABLE] == NO_STATE_API
        raise OSError("no room")
    assert os.environ.get(STATE_API_VARIABLE) == before
