"""The site builds without a warning (dead links and anchors are warnings), and loads nothing from elsewhere."""

import os
import re
import subprocess
import sys

import pytest


@pytest.fixture(scope="module")
def site(root, tmp_path_factory):
    out = tmp_path_factory.mktemp("site")
    run = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(out)],
        cwd=root, capture_output=True, text=True, check=False, timeout=120,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
    )  # fmt: skip
    # Not with --quiet: MkDocs would then count no warnings.
    assert run.returncode == 0, run.stderr
    assert "Documentation built" in run.stderr
    return out


def test_pages_are_made_from_what_they_describe(site):
    assert "--regressors" in (site / "reference/jobs/index.html").read_text()
    assert "/v1/predict/batch" in (site / "reference/http/index.html").read_text()
    assert "ChargeDensity" in (site / "reference/python/index.html").read_text()


def test_benchmarks_are_those_of_the_results(site, root):
    (result,) = sorted((root / "benchmarks/results").glob("bundle_*.md"))[-1:]
    mae = re.search(r"bulk modulus \| GPa \| \d+ \| [^|]+\| ([\d.]+) ", result.read_text())[1]
    page = (site / "benchmarks/index.html").read_text()
    assert mae in page
    assert "bench_bundle.py" in page
    assert all(p.name in (site / "benchmarks/results/index.html").read_text() for p in result.parent.glob("*.md"))


def test_nothing_is_loaded_from_elsewhere(site):
    for page in site.rglob("*.html"):
        loaded = re.findall(r"<(?:script|link|img)[^>]+(?:src|href)=\"?(https?://[^\"\s>]+)", page.read_text())
        assert loaded == [], page
