"""Every kind of broken file among whole ones, in one run: ingest quarantines it, predict has a row with the reason."""

import io

import numpy as np
import pandas as pd
import pytest

from rhoray.core.storage import join, read_bytes, write_bytes
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.pipeline.predict import predict
from rhoray.store.manifest import read_manifest
from tests.broken_inputs import broken_inputs, expected, whole_inputs

pytestmark = pytest.mark.cluster


BROKEN = {name: f"{i:03}_{kind.file}" for i, (name, kind) in enumerate(broken_inputs().items())}
WHOLE = {name: f"whole{i:03}_{kind.file}" for i, (name, kind) in enumerate(whole_inputs().items())}
TWICE = next(iter(WHOLE))


@pytest.fixture(scope="module")
def source(store, bucket):
    """All of them below one prefix; one id stands twice."""
    del store
    base = f"{bucket}/bad/source"
    for files, kinds in ((BROKEN, broken_inputs()), (WHOLE, whole_inputs())):
        for name, kind in kinds.items():
            write_bytes(join(base, files[name]), kind.content)
    write_bytes(join(base, "zz", WHOLE[TWICE]), whole_inputs()[TWICE].content)
    return base


@pytest.fixture(scope="module")
def manifest(source, cluster, bucket):
    summary = ingest(IngestConfig(source=source, out=f"{bucket}/densities/bad"))
    assert summary["read"] == len(BROKEN) + len(WHOLE) + 1
    assert summary["written"] == len(WHOLE)
    assert summary["quarantined"] == len(BROKEN) + 1
    return read_manifest(summary["out"])


def test_there_are_more_than_forty_kinds():
    assert len(BROKEN) > 40


def named(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows by file name; the file whose id stands twice keeps its folder."""
    return rows.assign(file=[uri.partition("/source/")[2] for uri in rows.source]).set_index("file")


def test_each_broken_file_is_quarantined_with_its_reason(manifest):
    found = named(manifest.quarantined)
    for name, kind in broken_inputs().items():
        row = found.loc[BROKEN[name]]
        assert row.code == kind.code, name
        assert [word for word in kind.words if word not in row.reason] == [], name


def test_an_id_that_stands_twice_is_refused_once(manifest):
    refused = manifest.quarantined[manifest.quarantined.source.str.contains("/zz/")].reason.tolist()
    assert len(refused) == 1
    assert "is already that of" in refused[0]
    assert "rename one of the two" in refused[0]


def test_unusual_files_that_are_whole_pass(manifest):
    assert named(manifest.written).index.tolist() == sorted(WHOLE.values())
    np.testing.assert_allclose(manifest.written.num_electrons, expected().n_electrons, rtol=1e-6)


def test_predict_gives_a_row_with_the_same_reason(manifest, source, pipeline, bucket):
    summary = predict(pipeline.bundle, source, f"{bucket}/predictions/bad.csv")
    assert (summary["rows"], summary["failed"]) == (len(manifest.rows), len(manifest.quarantined))
    table = named(pd.read_csv(io.BytesIO(read_bytes(summary["out"])), dtype={"material_id": str}))
    refused = named(manifest.quarantined)
    assert table.reason[refused.index].tolist() == refused.reason.tolist()
    assert table.bulk_modulus[refused.index].isna().all()
    assert not table.in_domain[refused.index].any()
    good = table.drop(refused.index)
    assert (good.bulk_modulus_lower < good.bulk_modulus).all()
    assert (good.bulk_modulus < good.bulk_modulus_upper).all()
