"""The same file and bundle give the same numbers to the last digit: over HTTP, as a job, and from Python."""

import httpx
import pandas as pd
import pytest

from rhoray.inference.predictor import Predictor, read_input
from rhoray.pipeline.predict import predict

pytestmark = pytest.mark.cluster


def test_http_job_and_python_agree_to_the_last_digit(served_url, pipeline, sample_chgcars, tmp_path):
    source = tmp_path / "chgcars"
    source.mkdir()
    for material_id, content in sample_chgcars.items():
        suffix = ".gz" if content.startswith(b"\x1f\x8b") else ""
        (source / f"{material_id}_CHGCAR{suffix}").write_bytes(content)
    predict(pipeline.bundle, str(source), str(tmp_path / "job.parquet"))
    job = pd.read_parquet(tmp_path / "job.parquet").set_index("material_id")
    predictor = Predictor.load(pipeline.bundle)
    assert len(job) == len(sample_chgcars)
    for material_id, content in sample_chgcars.items():
        (python,) = predictor([read_input(content)])
        answer = httpx.post(f"{served_url}/v1/predict", files={"file": content}, timeout=120).raise_for_status().json()
        expected = {p.target: (p.value, p.lower, p.upper) for p in python.properties}
        row = job.loc[material_id]
        assert {p["target"]: (p["value"], p["lower"], p["upper"]) for p in answer["predictions"]} == expected
        assert {t: (row[t], row[f"{t}_lower"], row[f"{t}_upper"]) for t in expected} == expected
        assert answer["in_domain"] == bool(row.in_domain) == python.in_domain
