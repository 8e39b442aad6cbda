"""A share says two digits of itself, however small it is."""

import pytest

from rhoray.core.percent import percent


@pytest.mark.parametrize(
    ("share", "said"),
    [(4.6e-7, "0.000046 %"), (8.1e-5, "0.0081 %"), (0.0123, "1.2 %"), (0.1, "10 %"), (3.067, "310 %"), (0.0, "0 %"),
     (float("nan"), "nan %")],
)  # fmt: skip
def test_two_digits_of_any_share(share, said):
    assert percent(share) == said
