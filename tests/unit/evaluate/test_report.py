"""The report: every judged target with its unit, nothing that has no reference, pictures that open."""

import json

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from rhoray.core.targets import TARGETS
from rhoray.evaluate.report import build_report

JUDGED = ["bulk_modulus", "formation_energy_per_atom", "band_gap"]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def table() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    out = pd.DataFrame({"material_id": [f"m{i}" for i in range(30)], "crystal_system": ["cubic", "trigonal"] * 15})
    for name, centre in zip(JUDGED, (120.0, -1.0, 2.0), strict=True):
        expected = centre + 0.2 * rng.normal(size=30)
        found = expected + 0.1 * rng.normal(size=30)
        out = out.assign(**{name: found, f"{name}_reference": expected})
        out = out.assign(**{f"{name}_lower": found - 0.15, f"{name}_upper": found + 0.15})
    return out


def headings(markdown) -> list[list[str]]:
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in markdown.splitlines() if line[:1] == "|"]
    return rows[: rows.index(next(row for row in rows[1:] if row[0] == "property"))]


def test_every_judged_target_stands_with_its_unit(table):
    rows = headings(build_report(table, JUDGED, "title").markdown)[2:]
    assert [row[0] for row in rows] == ["bulk modulus", "formation energy", "band gap"]
    assert [row[1] for row in rows] == ["GPa", "eV/atom", ""]
    assert {row[2] for row in rows} == {"30"}


def test_the_numbers_are_scikit_learns(table):
    report = build_report(table, JUDGED, "title")
    for name in JUDGED:
        pair = table[f"{name}_reference"], table[name]
        assert report.metrics[name]["r2"] == pytest.approx(r2_score(*pair), rel=1e-12)
        assert report.metrics[name]["mae"] == pytest.approx(mean_absolute_error(*pair), rel=1e-12)
        inside = (table[f"{name}_reference"] - table[name]).abs() <= 0.15
        assert report.metrics[name]["coverage_90"] == inside.mean()


def test_errors_by_crystal_system_add_up(table):
    table.loc[3, "bulk_modulus_reference"] = np.nan
    metrics = build_report(table, JUDGED, "title").metrics["bulk_modulus"]
    by_system = metrics["mae_by_crystal_system"]
    assert {system: entry["n"] for system, entry in by_system.items()} == {"cubic": 15, "trigonal": 14}
    assert sum(e["mae"] * e["n"] for e in by_system.values()) / 29 == pytest.approx(metrics["mae"], rel=1e-12)


def test_a_system_that_only_one_target_knows_leaves_a_gap(table):
    table.loc[table.crystal_system == "cubic", "band_gap_reference"] = np.nan
    lines = build_report(table, JUDGED, "title").markdown.splitlines()
    assert "| property | cubic | trigonal |" in lines
    assert any(line.startswith("| band gap () |  | ") for line in lines)


@pytest.mark.parametrize("known", [0, 1])
def test_a_target_with_less_than_two_references_is_left_out(table, known):
    table.loc[known:, "bulk_modulus_reference"] = np.nan
    report = build_report(table, JUDGED, "title")
    assert list(report.metrics) == JUDGED[1:]
    assert "bulk" not in report.markdown
    assert report.plots.keys() == {f"parity_{name}.png" for name in JUDGED[1:]}


def test_a_target_without_a_reference_column_is_left_out(table):
    assert list(build_report(table, [*JUDGED, "shear_modulus"], "title").metrics) == JUDGED


@pytest.mark.parametrize("predicted", [0, 1])
def test_a_target_with_references_but_without_predictions_is_left_out(table, predicted):
    table.loc[predicted:, "bulk_modulus"] = np.nan
    assert list(build_report(table, JUDGED, "title").metrics) == JUDGED[1:]


def test_a_crystal_that_failed_does_not_count(table):
    table.loc[4, JUDGED] = np.nan
    report = build_report(table, JUDGED, "title")
    assert {metrics["n"] for metrics in report.metrics.values()} == {29}


def test_nothing_to_judge(table):
    report = build_report(table, ["shear_modulus"], "title")
    assert (report.metrics, report.plots) == ({}, {})


def test_one_picture_per_target(table):
    plots = build_report(table, JUDGED, "title").plots
    assert plots.keys() == {f"parity_{name}.png" for name in JUDGED}
    assert all(content.startswith(PNG) and len(content) > 5000 for content in plots.values())


def test_the_title_and_plain_json(table):
    report = build_report(table, JUDGED, "mine on 30 unseen crystals")
    assert report.markdown.startswith("# mine on 30 unseen crystals\n")
    assert json.loads(json.dumps(report.metrics, allow_nan=False)) == report.metrics
    assert report.metrics["bulk_modulus"]["unit"] == TARGETS["bulk_modulus"].unit
