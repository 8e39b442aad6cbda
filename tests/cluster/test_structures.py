"""Structures without a density, by job and by HTTP: CIF, POSCAR and a Parquet table."""

import json

import pandas as pd
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from rhoray.core.storage import write_bytes
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.pipeline.predict import predict
from rhoray.store.manifest import read_manifest
from tests.cluster.test_jobs import run_job

pytestmark = pytest.mark.cluster

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
IRON = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
BERKELIA = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.33), ["Bk", "O"], [[0, 0, 0], [0.25, 0.25, 0.25]])
ALLOY = Structure(Lattice.cubic(3.6), [{"Fe": 0.5, "Ni": 0.5}], [[0, 0, 0]])


@pytest.fixture(scope="module")
def folder(cluster, bucket) -> str:
    """Two crystals that work and two that don't."""
    uri = f"{bucket}/structures"
    for name, content in {
        "salt.cif": SALT.to(fmt="cif"),
        "iron_POSCAR": Poscar(IRON).get_str(),
        "berkelia.cif": BERKELIA.to(fmt="cif"),
        "alloy.cif": ALLOY.to(fmt="cif"),
    }.items():
        write_bytes(f"{uri}/{name}", content.encode())
    return uri


def test_predict_answers_for_a_folder(pipeline, folder, root, tmp_path):
    out = str(tmp_path / "found.csv")
    run = run_job(root, "predict", "--bundle", pipeline.bundle, "--source", folder, "--out", out)
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])["failed"] == 2
    table = pd.read_csv(out).set_index("material_id")
    assert table.density_kind.dropna().to_dict() == {"salt": "promolecular", "iron_POSCAR": "promolecular"}
    assert table.bulk_modulus["iron_POSCAR"] > table.bulk_modulus["salt"] > 0
    assert "no free-atom density for Bk" in table.reason["berkelia"]
    assert "disordered" in table.reason["alloy"]


def test_a_table_gives_the_same_numbers_as_files(pipeline, folder, bucket, tmp_path):
    uri = f"{bucket}/tables/structures.parquet"
    frame = pd.DataFrame({"material_id": ["salt", "iron"], "poscar": [Poscar(s).get_str() for s in (SALT, IRON)]})
    write_bytes(uri, frame.to_parquet(index=False))
    predict(pipeline.bundle, folder, str(tmp_path / "files.parquet"))
    predict(pipeline.bundle, uri, str(tmp_path / "table.parquet"))
    files, rows = (pd.read_parquet(tmp_path / f"{n}.parquet").set_index("material_id") for n in ("files", "table"))
    assert rows.bulk_modulus["iron"] == files.bulk_modulus["iron_POSCAR"]


def test_the_endpoint_agrees_and_says_what_kind(served_url, pipeline, folder, tmp_path):
    import httpx

    predict(pipeline.bundle, folder, str(tmp_path / "files.parquet"))
    expected = pd.read_parquet(tmp_path / "files.parquet").set_index("material_id")
    answer = httpx.post(f"{served_url}/v1/predict", files={"file": SALT.to(fmt="cif").encode()}, timeout=120).json()
    assert answer["material"]["density_kind"] == "promolecular"
    assert answer["material"]["n_atoms"] == 8
    assert {p["target"]: p["value"] for p in answer["predictions"]}["bulk_modulus"] == expected.bulk_modulus["salt"]
    refused = httpx.post(f"{served_url}/v1/predict", files={"file": ALLOY.to(fmt="cif").encode()}, timeout=120)
    assert refused.status_code == 422
    assert "disordered" in refused.json()["detail"]


def test_ingest_keeps_and_quarantines(folder, bucket):
    out = f"{bucket}/densities/structures"
    summary = ingest(IngestConfig(source=folder, out=out))
    assert (summary["read"], summary["written"], summary["quarantined"]) == (4, 2, 2)
    manifest = read_manifest(out)
    assert set(manifest.written.density_kind) == {"promolecular"}
    assert manifest.written.num_electrons.tolist() == pytest.approx([16, 56])
    reasons = manifest.quarantined.set_index("material_id").reason
    assert "for Bk" in reasons["berkelia"]
    assert "disordered" in reasons["alloy"]
