"""Shards and manifests: what is written comes back, by us and by plain pyarrow."""

import collections
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rhoray.core.errors import DatasetError
from rhoray.density.crystal import reduced_formula
from rhoray.sources.items import sample_uri
from rhoray.store.codec import encode_values, to_compact
from rhoray.store.manifest import MANIFEST, Manifest, read_manifest, split_of, write_manifest
from rhoray.store.schema import DENSITY_SCHEMA, MANIFEST_SCHEMA, METADATA_KEY, SCHEMA_VERSION
from rhoray.store.shards import density_row, read_card, read_shard, row_density, write_shard
from tests.unit.builders import salt, skewed


def row(material_id, density):
    values = encode_values(density.values)
    return density_row(material_id, reduced_formula(density), density, values, density.values.shape)


@pytest.fixture
def shard(tmp_path):
    densities = {"mp-1": to_compact(salt()), "mp-2": to_compact(skewed())}
    uri = str(tmp_path / "part-0.parquet")
    size = write_shard(uri, [row(i, d) for i, d in densities.items()], DENSITY_SCHEMA, {"store": "compact"})
    assert size == (tmp_path / "part-0.parquet").stat().st_size
    return uri, densities


def manifest(uri, ids=("mp-1", "mp-2"), **columns):
    rows = pd.DataFrame({name: [None] * len(ids) for name in MANIFEST_SCHEMA.names})
    rows = rows.assign(material_id=ids, source="x", status="written", shard="part-0.parquet", **columns)
    return Manifest(uri, rows, {"store": "compact", "count": len(ids)})


def test_rows_come_back_as_densities(shard):
    uri, densities = shard
    for found in read_shard(uri):
        density, expected = row_density(found), densities[found["material_id"]]
        np.testing.assert_allclose(density.values, expected.values, rtol=1e-12)
        np.testing.assert_array_equal(density.lattice, expected.lattice)
        np.testing.assert_array_equal(density.frac_coords, expected.frac_coords)
        assert (density.species, density.kind) == (expected.species, expected.kind)
        assert density.n_electrons == pytest.approx(expected.n_electrons, rel=1e-14)


def test_columns_can_be_chosen(shard):
    assert [set(found) for found in read_shard(shard[0], ["material_id"])] == [{"material_id"}] * 2


def test_the_card_is_in_the_shard(shard):
    assert read_card(shard[0]) == {"schema_version": SCHEMA_VERSION, "store": "compact"}


def test_pyarrow_alone_reads_a_shard(shard):
    uri, densities = shard
    table = pq.read_table(uri)
    assert json.loads(table.schema.metadata[METADATA_KEY])["schema_version"] == SCHEMA_VERSION
    for found in table.to_pylist():
        values = np.frombuffer(found["values"], "<f2").reshape(found["grid"]).astype(float)
        lattice = np.array(found["lattice"]).reshape(3, 3)
        values *= found["num_electrons"] / abs(np.linalg.det(lattice)) / values.mean()
        expected = densities[found["material_id"]]
        np.testing.assert_allclose(values, expected.values, rtol=1e-12)
        assert np.array(found["frac_coords"]).reshape(-1, 3).shape == (len(found["species"]), 3)


def test_the_same_rows_are_the_same_bytes(shard, tmp_path):
    _, densities = shard
    again = str(tmp_path / "again.parquet")
    write_shard(again, [row(i, d) for i, d in densities.items()], DENSITY_SCHEMA, {"store": "compact"})
    assert (tmp_path / "again.parquet").read_bytes() == (tmp_path / "part-0.parquet").read_bytes()


def test_a_manifest_comes_back(tmp_path):
    write_manifest(manifest(str(tmp_path), num_atoms=[8, 3], bulk_modulus=[25.0, np.nan]))
    found = read_manifest(str(tmp_path))
    assert found.written.num_atoms.tolist() == [8, 3]
    assert found.labels == ["bulk_modulus"]
    assert found.shards == [f"file://{tmp_path}/part-0.parquet"]
    assert found.card == {"schema_version": SCHEMA_VERSION, "store": "compact", "count": 2}
    assert found.quarantined.empty


def test_quarantine_keeps_its_reasons(tmp_path):
    status, reason = ["written", "quarantined"], [None, "no charge"]
    rows = manifest(str(tmp_path)).rows.assign(status=status, reason=reason)
    write_manifest(Manifest(str(tmp_path), rows, {}))
    found = read_manifest(str(tmp_path))
    assert found.written.material_id.tolist() == ["mp-1"]
    assert found.quarantined.reason.tolist() == ["no charge"]


def test_no_manifest_no_dataset(shard, tmp_path):
    with pytest.raises(DatasetError, match=f"{tmp_path} holds no {MANIFEST}"):
        read_manifest(str(tmp_path))


def test_a_newer_schema_is_refused(tmp_path):
    newer = manifest(str(tmp_path))
    write_manifest(Manifest(newer.uri, newer.rows, {"schema_version": SCHEMA_VERSION + 1}))
    with pytest.raises(DatasetError, match=f"reads up to {SCHEMA_VERSION}"):
        read_manifest(str(tmp_path))


def test_a_material_twice_is_refused(tmp_path):
    with pytest.raises(DatasetError, match="'mp-1' stands twice"):
        write_manifest(manifest(str(tmp_path), ("mp-1", "mp-1")))
    assert not (tmp_path / MANIFEST).exists()


def test_splits_are_what_they_were():
    # Frozen: a change would leak test compounds of published models into training.
    assert {f: split_of(f) for f in ("NaCl", "Si", "Fe2O3", "Al", "GaAs", "MgO", "TiO2", "W")} == {
        "NaCl": "test",
        "Si": "train",
        "Fe2O3": "train",
        "Al": "train",
        "GaAs": "train",
        "MgO": "train",
        "TiO2": "test",
        "W": "test",
    }


def test_splits_are_70_10_20():
    counts = collections.Counter(split_of(f"X{i}") for i in range(20000))
    assert {name: count / 20000 for name, count in counts.items()} == pytest.approx(
        {"train": 0.7, "val": 0.1, "test": 0.2}, abs=0.01
    )


@settings(max_examples=30, deadline=None)
@given(formula=st.text(max_size=20))
def test_every_formula_has_one_split(formula):
    assert split_of(formula) == split_of(formula)
    assert split_of(formula) in {"train", "val", "test"}


def test_the_sample_keeps_polymorphs_together():
    rows = read_manifest(sample_uri()).rows
    assert (rows.groupby("formula").split.nunique() == 1).all()
    assert rows.formula.duplicated().any()
    assert (rows.split == rows.formula.map(split_of)).all()


def test_the_samples_manifest_agrees_with_its_shards():
    found = read_manifest(sample_uri())
    ids = [r["material_id"] for uri in found.shards for r in read_shard(uri, ["material_id"])]
    assert ids == found.written.material_id.tolist()
    assert len(ids) == 300
