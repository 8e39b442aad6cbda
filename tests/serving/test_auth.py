"""Tokens are compared whole; any of several opens."""

import pytest

from serve.auth import is_known


@pytest.mark.parametrize("token", ["alpha", "beta"])
def test_known(token):
    assert is_known(token, ["alpha", "beta"])


@pytest.mark.parametrize("token", ["", "alph", "alphaa", "alpha,beta", "ALPHA", "älpha", "\x00"])
def test_unknown(token):
    assert not is_known(token, ["alpha", "beta"])
