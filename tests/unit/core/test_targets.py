"""Derived properties against textbook numbers, and the table of targets."""

import numpy as np
import pytest

from rhoray.core.targets import (
    TARGETS,
    debye_temperature,
    get_target,
    in_reading_order,
    with_derived,
    youngs_modulus,
)

# K and G in GPa, g/cm3, A3/atom, and the measured Debye temperature in K (Kittel, table 1 of chapter 5).
METALS = {
    "aluminium": (76.0, 26.0, 2.70, 16.6, 428.0),
    "copper": (137.0, 47.0, 8.96, 11.8, 343.0),
    "tungsten": (310.0, 160.0, 19.25, 15.85, 400.0),
    "silver": (101.0, 30.0, 10.5, 17.1, 225.0),
}


def test_youngs_modulus_is_9kg_over_3k_plus_g():
    bulk, shear = np.array([100.0, 76.0, 442.0]), np.array([0.5, 26.0, 536.0])
    np.testing.assert_allclose(1 / youngs_modulus(bulk, shear), 1 / (9 * bulk) + 1 / (3 * shear), rtol=1e-14)


def test_youngs_modulus_of_aluminium():
    assert youngs_modulus(np.array([76.0]), np.array([26.0]))[0] == pytest.approx(70, rel=0.01)


@pytest.mark.parametrize("metal", METALS)
def test_debye_temperature_of_a_metal(metal):
    *facts, expected = METALS[metal]
    found = debye_temperature(*(np.array([x]) for x in facts))
    assert found[0] == pytest.approx(expected, rel=0.06)


def test_debye_temperature_scales_with_the_sound_velocity():
    k, g, density, volume = (np.array([x]) for x in METALS["copper"][:4])
    once, twice = debye_temperature(k, g, density, volume), debye_temperature(4 * k, 4 * g, density, volume)
    np.testing.assert_allclose(twice, 2 * once, rtol=1e-12)


def test_with_derived_adds_what_follows_and_keeps_the_input():
    known = {"bulk_modulus": np.array([76.0, np.nan]), "shear_modulus": np.array([26.0, 30.0])}
    out = with_derived(known, np.array([2.7, 2.7]), np.array([16.6, 16.6]))
    assert set(out) == {*known, "youngs_modulus", "debye_temperature"}
    assert set(known) == {"bulk_modulus", "shear_modulus"}
    assert np.isnan(out["youngs_modulus"]).tolist() == [False, True]


@pytest.mark.parametrize("name", ["bulk_modulus", "shear_modulus", "formation_energy_per_atom"])
def test_with_derived_needs_both_moduli(name):
    known = {name: np.array([1.0])}
    assert with_derived(known, np.ones(1), np.ones(1)).keys() == known.keys()


def test_the_binding_table_of_targets():
    assert {t.name: t.unit for t in TARGETS.values()} == {
        "bulk_modulus": "GPa",
        "shear_modulus": "GPa",
        "youngs_modulus": "GPa",
        "debye_temperature": "K",
        "formation_energy_per_atom": "eV/atom",
        "cohesive_energy_per_atom": "eV/atom",
    }
    assert [t.name for t in TARGETS.values() if t.derived] == ["youngs_modulus", "debye_temperature"]


def test_a_target_of_the_callers_own():
    own = get_target("band_gap", "eV")
    assert (own.unit, own.label, own.positive, own.derived) == ("eV", "band gap", False, False)


def test_reading_order_is_ours_then_the_alphabet():
    names = ["zebra", "debye_temperature", "band_gap", "bulk_modulus"]
    assert in_reading_order(names) == ["bulk_modulus", "debye_temperature", "band_gap", "zebra"]
