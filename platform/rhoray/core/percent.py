"""How shares are said to people."""

import numpy as np

DIGITS = 2


def percent(share: float) -> str:
    """Return a share in percent with two significant digits: errors here span eight powers of ten.

    Example:
        >>> percent(4.6e-07), percent(0.0812), percent(3.067), percent(float("nan"))
        ('0.000046 %', '8.1 %', '310 %', 'nan %')
    """
    digits = np.format_float_positional(100 * share, precision=DIGITS, unique=False, fractional=False, trim="-")
    return f"{digits} %"
