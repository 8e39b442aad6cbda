"""Feature sets compared on Ray, on the sample."""

import pandas as pd
import pytest

from rhoray.core.storage import read_bytes
from rhoray.tune.compare import SCHEMES, CompareConfig, compare_features

pytestmark = pytest.mark.cluster


def test_every_mandatory_row_for_every_scheme(pipeline, bucket, tmp_path):
    out = f"{bucket}/reports/features"
    config = CompareConfig(latents=pipeline.latents, targets=["bulk_modulus"], out=out, folds=2, repeats=1)
    metrics = compare_features(config)["metrics"]["bulk_modulus"]
    assert metrics.keys() == set(SCHEMES)
    for found in metrics.values():
        assert found.keys() == {
            "dummy", "element fractions", "MAGPIE", "MAGPIE + cell", "density only", "latent only", "all",
        }  # fmt: skip
        assert found["all"]["mae"] < 0.5 * found["dummy"]["mae"]
    (tmp_path / "p.parquet").write_bytes(read_bytes(f"{out}/predictions.parquet"))
    judged = pd.read_parquet(tmp_path / "p.parquet")
    whole = judged[(judged.share == 1) & (judged.scheme == "prototype") & (judged.features == "all")]
    assert not whole.material_id.duplicated().any()
    assert read_bytes(f"{out}/report.html").startswith(b"<!doctype html>")
