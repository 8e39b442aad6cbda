"""Numbers are shown to the digits that their interval justifies, and kept with all of them."""

import math

import pytest

from rhoray.inference.prediction import Prediction, PropertyPrediction, columns_of, material_of, table_columns
from tests.unit.builders import salt


@pytest.mark.parametrize(
    ("value", "half", "shown"),
    [
        (59.918, 8.36, ("60", "52", "68")),
        (668.37, 109.3, ("670", "560", "780")),
        (-2.9216, 0.2597, ("-2.92", "-3.18", "-2.66")),
        (12.3456, 0.0123, ("12.346", "12.333", "12.358")),
        (1234.0, 0.096, ("1234.00", "1233.90", "1234.10")),
        (0.5, 0.36, ("0.5", "0.1", "0.9")),
        (5.0, 0.0, ("5", "5", "5")),
        (5.0, math.inf, ("5", "-inf", "inf")),
    ],
)
def test_rounded(value, half, shown):
    assert PropertyPrediction("x", value, value - half, value + half, "").rounded() == shown


def test_the_table_keeps_every_digit_and_says_whose_it_is():
    value = 1 / 3
    found = Prediction((PropertyPrediction("gap", value, 0.0, 1.0, "eV"),), False, ("odd", "very"))
    row = columns_of(found, material_of(salt()), "mine", "20261126-00000000")
    assert row["gap"] == value
    assert (row["formula"], row["density_kind"]) == ("NaCl", "dft")
    assert (row["model"], row["model_version"]) == ("mine", "20261126-00000000")
    assert (row["in_domain"], row["reason"]) == (False, "odd; very")
    assert {"material_id", "source", *row} == set(table_columns(["gap"]))


def test_a_target_of_ones_own_has_no_unit_and_no_comma():
    shown = str(Prediction((PropertyPrediction("my_gap", 1.0, 0.5, 1.5, ""),), True, ()))
    assert shown.splitlines()[1].startswith("my gap  ")
