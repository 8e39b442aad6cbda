"""Broken files among good ones: quarantined by ingest, a row with a reason in predict, and the rest goes through."""

import io
import re

import pandas as pd
import pytest

from rhoray.core.storage import read_bytes
from rhoray.density.vasp import write_chgcar
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.pipeline.predict import predict
from rhoray.store.manifest import read_manifest

pytestmark = pytest.mark.cluster

NUMBER = r"-?\d\.\d+E[+-]\d+"

EXPECTED = {
    "empty": ("unreadable", "empty"),
    "truncated": ("unreadable", "truncated"),
    "notnumber": ("impossible", "NaN"),
    "header": ("impossible", "header disagree"),
    "jpeg": ("unknown-format", "JPEG"),
    "zero": ("impossible", "0 electrons"),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory, sample_densities):
    """Two good CHGCARs and six broken ones."""
    path = tmp_path_factory.mktemp("bad")
    first, second = list(sample_densities.values())[:2]
    text = write_chgcar(first)
    grid = "".join(f"{n:5d}" for n in first.values.shape)
    fewer = "".join(f"{n:5d}" for n in (first.values.shape[0] - 2, *first.values.shape[1:]))
    files = {
        "good1_CHGCAR": text,
        "good2_CHGCAR": write_chgcar(second),
        "empty_CHGCAR": "",
        "truncated_CHGCAR": text[: len(text) // 2],
        "notnumber_CHGCAR": re.sub(NUMBER, "NaN", text, count=1),
        "header_CHGCAR": text.replace(f"\n{grid}\n", f"\n{fewer}\n"),
        "zero_CHGCAR": re.sub(NUMBER, "0.00000000000E+00", text),
    }
    for name, content in files.items():
        (path / name).write_text(content)
    (path / "jpeg_CHGCAR").write_bytes(b"\xff\xd8\xff\xe0\x00\x10JFIF\x00" + bytes(2000))
    return path


@pytest.fixture(scope="module")
def quarantined(folder, cluster, bucket):
    summary = ingest(IngestConfig(source=str(folder), out=f"{bucket}/densities/bad"))
    assert (summary["read"], summary["written"], summary["quarantined"]) == (8, 2, 6)
    return read_manifest(summary["out"]).quarantined.set_index("material_id")


@pytest.fixture(scope="module")
def predicted(folder, pipeline, bucket):
    summary = predict(pipeline.bundle, str(folder), f"{bucket}/predictions/bad.csv")
    assert (summary["rows"], summary["failed"]) == (8, 6)
    return pd.read_csv(io.BytesIO(read_bytes(summary["out"]))).set_index("material_id")


@pytest.mark.parametrize("name", EXPECTED)
def test_ingest_quarantines_with_a_reason(quarantined, name):
    code, words = EXPECTED[name]
    assert quarantined.code[name] == code
    assert words in quarantined.reason[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_predict_gives_a_row_with_the_same_reason(predicted, quarantined, name):
    assert predicted.reason[name] == quarantined.reason[name]
    assert pd.isna(predicted.bulk_modulus[name])
    assert not predicted.in_domain[name]


@pytest.mark.parametrize("name", ["good1", "good2"])
def test_the_others_go_through(predicted, name):
    row = predicted.loc[name]
    assert row.bulk_modulus_lower < row.bulk_modulus < row.bulk_modulus_upper
    assert row.density_kind == "dft"
