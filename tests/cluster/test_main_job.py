"""The whole main job on a real Ray and a real S3 server: what each job must leave behind."""

import io
import json

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

from rhoray.core.errors import DatasetError
from rhoray.core.storage import find, join, read_bytes
from rhoray.core.targets import youngs_modulus
from rhoray.pipeline.evaluate import evaluate_bundle
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard

pytestmark = pytest.mark.cluster


def test_every_crystal_of_the_sample_arrives_in_the_bucket(pipeline):
    assert pipeline.ingested["read"] == pipeline.ingested["written"] == 300
    assert len(read_manifest(pipeline.densities).written) == 300


def test_ingesting_again_changes_no_byte(pipeline):
    before = {stat.uri: read_bytes(stat.uri) for stat in find(pipeline.densities)}
    ingest(IngestConfig(source="sample:", out=pipeline.densities))
    assert {stat.uri: read_bytes(stat.uri) for stat in find(pipeline.densities)} == before


def test_a_folder_of_datasets_is_no_place_for_another(pipeline, bucket):
    before = [stat.uri for stat in find(pipeline.densities)]
    with pytest.raises(DatasetError, match="contains the dataset"):
        ingest(IngestConfig(source="sample:", out=f"{bucket}/densities", limit=2))
    assert [stat.uri for stat in find(pipeline.densities)] == before


def test_two_workers_train_to_below_one_percent(pipeline):
    assert pipeline.trained["val_density_error_median"] < 0.01
    assert pipeline.trained["val_density_error_worst"] < 0.03
    assert pipeline.trained["volumes_per_second"] > 0


def test_training_leaves_weights_metrics_and_a_picture(pipeline):
    names = {stat.uri.rsplit("/", 1)[1] for stat in find(pipeline.encoder)}
    assert {"autoencoder.safetensors", "autoencoder.json", "metrics.jsonl", "reconstruction.png"} <= names
    assert read_bytes(join(pipeline.encoder, "reconstruction.png")).startswith(b"\x89PNG")


def test_latents_are_16_to_the_fourth(pipeline):
    manifest = read_manifest(pipeline.latents)
    row = next(iter(read_shard(manifest.shards[0])))
    latent = np.frombuffer(row["latent"], "<f4").reshape(16, 16, 16, 16)
    assert np.isfinite(latent).all()
    assert latent.std() > 0


def test_reconstruction_error_is_known_for_every_crystal(pipeline):
    errors = read_manifest(pipeline.latents).written.density_error
    assert errors.notna().all()
    assert pipeline.encoded["density_error"]["worst"] == errors.max()
    assert pipeline.encoded["density_error"]["median"] == errors.median()


def test_a_shard_of_latents_reads_with_pyarrow_alone(pipeline):
    uri = read_manifest(pipeline.latents).shards[0]
    table = pq.read_table(io.BytesIO(read_bytes(uri)))
    assert {"material_id", "latent", "values", "lattice"} <= set(table.column_names)


def test_cross_validation_never_sees_the_test_split(pipeline):
    table = pd.read_parquet(io.BytesIO(read_bytes(join(pipeline.trees, "out_of_fold.parquet"))))
    manifest = read_manifest(pipeline.latents).written.set_index("material_id")
    assert not (manifest.split[table.material_id] == "test").any()


def test_the_bundle_judged_on_crystals_it_has_not_seen(pipeline, bucket):
    summary = evaluate_bundle(pipeline.bundle, pipeline.densities, f"{bucket}/reports/sample")
    names = {stat.uri.rsplit("/", 1)[1] for stat in find(summary["out"])}
    assert {"report.md", "metrics.json", "parity_bulk_modulus.png"} <= names
    assert summary["evaluated"] == 63
    assert summary["metrics"]["bulk_modulus"]["r2"] > 0.85


def test_bulk_modulus_cross_validated_above_085(pipeline):
    assert pipeline.tuned["targets"]["bulk_modulus"]["r2"] > 0.85


def test_published_card_names_targets_units_and_hashes(pipeline):
    card = json.loads(read_bytes(join(pipeline.published["out"], "card.json")))
    units = {t["target"]: t["unit"] for t in card["targets"]}
    assert units["bulk_modulus"] == units["youngs_modulus"] == "GPa"
    assert units["debye_temperature"] == "K"
    assert units["formation_energy_per_atom"] == "eV/atom"
    assert len(card["files"]) >= 8


def test_predictions_do_not_contradict_each_other(pipeline, bucket):
    table = pd.read_csv(io.BytesIO(read_bytes(f"{bucket}/reports/sample/predictions.csv")))
    derived = youngs_modulus(table.bulk_modulus.to_numpy(), table.shear_modulus.to_numpy())
    np.testing.assert_allclose(table.youngs_modulus, derived, rtol=1e-9)
