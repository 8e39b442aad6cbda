"""Sources as a user names them: Materials Project's bucket, and label tables that match only in part."""

import json
import subprocess
import sys
from dataclasses import replace

import pandas as pd
import pytest

from rhoray.core.errors import DatasetError
from rhoray.core.storage import exists, join, read_bytes, write_bytes
from rhoray.pipeline.ingest import UNMATCHED, IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard
from tests.unit.builders import salt_chgcar

pytestmark = pytest.mark.cluster


def test_materials_project_by_task_id(open_data, cluster, root, bucket):
    """The job forwards the endpoint to its workers; an id without a density is quarantined."""
    out = f"{bucket}/densities/mp"
    command = [sys.executable, "jobs/ingest.py", "--source", "mp:mp-149,mp-9999999,mp-77", "--out", out]
    run = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300, check=False)
    assert run.returncode == 0, run.stderr
    summary = json.loads(run.stdout.splitlines()[-1])
    assert (summary["written"], summary["quarantined"]) == (2, 1)
    assert summary["stages"]["fetch"]["items"] == 2
    manifest = read_manifest(out)
    assert manifest.written.material_id.tolist() == ["mp-149", "mp-9999999"]
    assert manifest.written.prototype.tolist()[0] == "AB_cF8_225"
    assert manifest.quarantined.code.tolist() == ["unavailable"]
    assert "WARNING quarantined s3://materialsproject-parsed/chgcars/mp-77.json.gz" in run.stderr


@pytest.fixture
def labels(tmp_path, sample_rows) -> str:
    ids = list(sample_rows)[:4]
    table = pd.DataFrame({"material_id": [*ids[1:], "mp-0"], "bulk_modulus (GPa)": [50.0, 60, 70, 80]})
    table.to_csv(tmp_path / "labels.csv", index=False)
    return str(tmp_path / "labels.csv")


def test_labels_and_densities_that_do_not_match_are_named(cluster, labels, tmp_path):
    out = str(tmp_path / "out")
    summary = ingest(IngestConfig(source="sample:", out=out, limit=4, labels=labels))
    assert (summary["without_label"], summary["label_unused"]) == (1, 1)
    text = read_bytes(join(out, UNMATCHED)).decode().splitlines()
    first = read_manifest(out).written.material_id[0]
    assert text == ["material_id,what", f"{first},no label", "mp-0,no density"]


def test_a_full_match_leaves_no_list(cluster, labels, tmp_path):
    config = IngestConfig(source="sample:", out=str(tmp_path / "out"), limit=4, labels=labels)
    ingest(config)
    table = pd.read_csv(labels)
    table.assign(material_id=read_manifest(config.out).written.material_id).to_csv(labels, index=False)
    assert ingest(config)["label_unused"] == 0
    assert not exists(join(config.out, UNMATCHED))


def test_labels_leave_the_manifests_own_columns_alone_and_travel_with_a_copy(cluster, labels, tmp_path):
    pd.read_csv(labels).assign(num_atoms=99).to_csv(labels, index=False)
    config = IngestConfig(source="sample:", out=str(tmp_path / "out"), limit=4, labels=labels)
    ingest(config)
    found = read_manifest(config.out)
    assert found.labels == ["bulk_modulus"]
    assert (found.written.num_atoms < 99).all()
    copy = str(tmp_path / "copy")
    ingest(IngestConfig(source=config.out, out=copy))
    assert read_manifest(copy).written.bulk_modulus.count() == found.written.bulk_modulus.count() == 3


def test_labels_are_not_lost_unasked(cluster, tmp_path):
    write_bytes(str(tmp_path / "files" / "m_CHGCAR"), salt_chgcar())
    pd.DataFrame({"material_id": ["m"], "bulk_modulus": [25.0]}).to_csv(tmp_path / "labels.csv", index=False)
    config = IngestConfig(source=str(tmp_path / "files"), out=str(tmp_path / "out"))
    ingest(replace(config, labels=str(tmp_path / "labels.csv")))
    with pytest.raises(DatasetError, match=r"has labels .*this run has none"):
        ingest(config)
    assert ingest(replace(config, overwrite=True))["written"] == 1


def test_a_compact_dataset_is_copied_to_the_last_digit(cluster, tmp_path):
    for out, source in (("a", "sample:"), ("b", str(tmp_path / "a"))):
        ingest(IngestConfig(source=source, out=str(tmp_path / out), limit=60))
    first, second = (
        {r["material_id"]: r["values"] for uri in read_manifest(str(tmp_path / name)).shards for r in read_shard(uri)}
        for name in ("a", "b")
    )
    assert first == second
