"""The job scripts as a user calls them: last line JSON, exit status, one-line reasons."""

import json
import subprocess
import sys

import pandas as pd
import pytest

pytestmark = pytest.mark.cluster


def run_job(root, name, *flags):
    return subprocess.run(
        [sys.executable, f"jobs/{name}.py", *flags], cwd=root, capture_output=True, text=True, timeout=300, check=False
    )


def test_the_last_line_is_json_with_the_promised_fields(pipeline, root, bucket):
    run = run_job(root, "ingest", "--source", "sample:", "--limit", "5", "--out", f"{bucket}/densities/five")
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout.splitlines()[-1])
    assert {"read", "written", "quarantined", "bytes", "seconds", "out"} <= summary.keys()
    assert summary["written"] == 5


def test_a_missing_source_fails_in_one_line(cluster, root, tmp_path):
    run = run_job(root, "ingest", "--source", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out"))
    assert run.returncode == 1
    assert run.stderr.strip().splitlines()[-1].startswith("failed: ")
    assert "Traceback" not in run.stderr


def test_a_dataset_made_from_something_else_is_not_replaced_unasked(pipeline, root):
    run = run_job(root, "ingest", "--source", "sample:", "--limit", "3", "--out", pipeline.densities)
    assert run.returncode == 1
    assert "--overwrite" in run.stderr


@pytest.mark.shared
def test_files_that_vasp_wrote_give_the_same_numbers_by_job_and_by_http(served_url, pipeline, root, shared, tmp_path):
    import httpx

    out = tmp_path / "li.csv"
    run = run_job(root, "predict", "--bundle", pipeline.bundle, "--source", str(shared / "vasp"), "--out", str(out))
    assert run.returncode == 0, run.stderr
    table = pd.read_csv(out, float_precision="round_trip").set_index("material_id")
    for name in ("CHGCAR_Li", "CHGCAR_Li_spin"):
        content = (shared / "vasp" / f"{name}.gz").read_bytes()
        answer = httpx.post(f"{served_url}/v1/predict", files={"file": (name, content)}, timeout=120).json()
        assert answer["material"]["formula"] == "Li"
        for p in answer["predictions"]:
            assert table[p["target"]][name] == p["value"]
            assert table[f"{p['target']}_lower"][name] == p["lower"]
