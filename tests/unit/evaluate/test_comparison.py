"""The report of a comparison says what scikit-learn says, and stands alone."""

import json
import re

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import mean_absolute_error, r2_score

from rhoray.evaluate.comparison import Comparison, comparison_files

COUNT = 80
NOISE = {"dummy": 0.6, "MAGPIE + cell": 0.3, "all": 0.1}


@pytest.fixture(scope="module")
def comparison():
    rng = np.random.default_rng(0)
    ids = [f"m{i}" for i in range(COUNT)]
    truth = np.exp(rng.normal(4, 0.5, COUNT))
    parts = [
        pd.DataFrame({
            "material_id": ids, "target": "bulk_modulus", "scheme": scheme, "repeat": repeat, "features": name,
            "share": share, "expected": truth, "found": truth * np.exp(noise / share * rng.normal(size=COUNT)),
        })
        for scheme in ("random", "prototype")
        for repeat in range(2)
        for name, noise in NOISE.items()
        for share in ((0.5, 1.0) if (scheme, repeat, name) == ("random", 0, "all") else (1.0,))
    ]  # fmt: skip
    materials = pd.DataFrame({
        "material_id": ids, "formula": ["NaCl", "MgO", "LiF", "Fe2O3"] * (COUNT // 4),
        "crystal_system": ["cubic", "hexagonal"] * (COUNT // 2),
    })  # fmt: skip
    return Comparison(pd.concat(parts), materials, "MAGPIE + cell", "made up", 0)


@pytest.fixture(scope="module")
def result(comparison):
    return comparison_files(comparison)


def test_metrics_are_those_of_scikit_learn(comparison, result):
    rows = comparison.predictions
    rows = rows[(rows.scheme == "prototype") & (rows.features == "all")]
    each = [part for _, part in rows.groupby("repeat")]
    found = result[0]["bulk_modulus"]["prototype"]["all"]
    assert found["mae"] == pytest.approx(np.mean([mean_absolute_error(p.expected, p.found) for p in each]))
    logs = [r2_score(np.log10(p.expected), np.log10(p.found)) for p in each]
    assert found["r2_log"] == pytest.approx(np.mean(logs))


def test_no_row_is_left_out(result):
    assert all(m["n"] == COUNT for schemes in result[0]["bulk_modulus"].values() for m in schemes.values())


def test_the_better_set_is_better_with_an_interval_below_zero(result):
    against = result[0]["bulk_modulus"]["random"]["all"]["against_reference"]
    assert against["interval"][1] < 0
    assert against["wilcoxon_p"] < 1e-6
    assert "against_reference" not in result[0]["bulk_modulus"]["random"]["MAGPIE + cell"]


def test_the_page_needs_nothing_but_itself(result):
    page = result[1]["report.html"].decode()
    assert page.count("data:image/png;base64,") == 2
    assert not re.search(r"(src|href)=.?(http|/)", page)


def test_the_markdown_has_a_table_for_each_question(result):
    titles = [line for line in result[1]["report.md"].decode().splitlines() if line.startswith("## ")]
    for what in ("folds by prototype", "crystal system", "range of the bulk modulus", "element"):
        assert any(what in title for title in titles), what


def test_metrics_are_json(result):
    assert json.loads(result[1]["metrics.json"]) == result[0]
