"""Publishing: what goes into a bundle, whose regressor wins, and a version that follows from the content."""

import datetime
import hashlib
import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from rhoray.core.errors import BundleError
from rhoray.core.intervals import calibrate
from rhoray.core.storage import find, read_bytes
from rhoray.core.targets import with_derived, youngs_modulus
from rhoray.registry.bundle import load_bundle, publish
from tests.unit.registry.small_run import COUNT, OWN, materials, write_encoder, write_small_run

ELASTIC = ["bulk_modulus", "shear_modulus", "youngs_modulus", "debye_temperature"]
LATER = datetime.datetime(2027, 1, 2, tzinfo=datetime.UTC)


def version_files(published) -> dict[str, bytes]:
    root = published["out"]
    return {stat.uri[len(root) + 1 :]: read_bytes(stat.uri) for stat in find(root)}


def trees_of(uri, target) -> bytes:
    return load_bundle(uri).regressors[target].model.to_bytes()


def test_it_returns_what_it_wrote(runs):
    assert runs.published["name"] == "bundle"
    assert runs.published["version"].startswith("20261122-")
    assert runs.published["out"].endswith(f"/bundle/{runs.published['version']}")


def test_the_card_names_every_file_with_its_hash(runs):
    files = version_files(runs.published)
    card = json.loads(files.pop("card.json"))
    assert card["files"] == {name: hashlib.sha256(content).hexdigest() for name, content in files.items()}


def test_the_card_is_strict_json_with_units(runs):
    def refuse(name):
        raise AssertionError(name)

    card = json.loads(version_files(runs.published)["card.json"], parse_constant=refuse)
    units = {target["target"]: target["unit"] for target in card["targets"]}
    assert units == dict(zip(ELASTIC, ["GPa", "GPa", "GPa", "K"], strict=True)) | {OWN: "e"}
    assert {"name", "version", "created", "licence", "code"} <= card.keys()


def test_the_card_tells_learned_from_derived(runs):
    targets = {t["target"]: t for t in load_bundle(runs.bundle).card["targets"]}
    assert targets["youngs_modulus"]["derived_from"] == ["bulk_modulus", "shear_modulus"]
    assert targets["bulk_modulus"]["features"] == ["magpie", "density"]
    assert targets["bulk_modulus"]["crystals"] == COUNT


def test_no_file_is_a_pickle(runs):
    files = version_files(runs.published)
    assert {Path(name).suffix for name in files} <= {".json", ".safetensors", ".txt", ".ubj"}
    assert not [name for name, content in files.items() if content.startswith((b"\x80\x04", b"\x80\x05", b"PK"))]


def test_the_version_follows_from_the_content(runs, tmp_path):
    again = publish(runs.encoder, [runs.elastic, runs.latent], str(tmp_path / "again"), now=LATER)
    less = publish(runs.encoder, [runs.elastic], str(tmp_path / "less"), now=LATER)
    assert again["version"].startswith("20270102-")
    assert again["version"].split("-")[1] == runs.published["version"].split("-")[1] != less["version"].split("-")[1]


def test_published_twice_the_bytes_are_the_same(runs, tmp_path):
    again = publish(runs.encoder, [runs.elastic, runs.latent], str(tmp_path / "again"), now=LATER)
    first, second = version_files(runs.published), version_files(again)
    assert {k: v for k, v in first.items() if k != "card.json"} == {k: v for k, v in second.items() if k != "card.json"}


def test_a_trailing_slash_does_not_lose_the_name(runs, tmp_path):
    assert publish(runs.encoder, [runs.elastic], f"{tmp_path}/mine/")["name"] == "mine"


def test_a_loaded_bundle_is_what_was_fitted(runs):
    bundle = load_bundle(runs.bundle)
    assert bundle.targets == [*ELASTIC, OWN]
    assert bundle.regressors[OWN].about.encoder == bundle.autoencoder.digest == runs.digest
    assert bundle.regressors["bulk_modulus"].about.encoder is None
    assert bundle.formulas == {*materials().formula, "Xe"}  # Xe: what the encoder was trained on


def test_a_second_bundle_adds_its_targets(runs, tmp_path):
    other = publish(runs.encoder, [runs.latent], str(tmp_path / "other"))
    both = publish(runs.encoder, [runs.elastic, other["out"]], str(tmp_path / "both"))
    bundle = load_bundle(both["out"])
    assert bundle.targets == [*ELASTIC, OWN]
    assert bundle.calibrations == load_bundle(runs.bundle).calibrations


@pytest.mark.parametrize("reverse", [False, True], ids=["elastic-first", "stiff-first"])
def test_the_first_that_offers_a_target_wins(runs, tmp_path, reverse):
    write_small_run(str(tmp_path / "stiff"), ["bulk_modulus"], ("magpie",), seed=7)
    offers = [runs.elastic, str(tmp_path / "stiff")][:: -1 if reverse else 1]
    published = publish(runs.encoder, offers, str(tmp_path / "bundle"))
    about = load_bundle(published["out"]).regressors["bulk_modulus"].about
    assert about.blocks == (["magpie"] if reverse else ["magpie", "density"])


def test_a_bundle_before_a_run_wins_with_its_interval(runs, tmp_path):
    write_small_run(str(tmp_path / "stiff"), ["bulk_modulus"], ("magpie",), seed=7)
    published = publish(runs.encoder, [runs.bundle, str(tmp_path / "stiff")], str(tmp_path / "bundle"))
    merged, first = load_bundle(published["out"]), load_bundle(runs.bundle)
    assert trees_of(published["out"], "bulk_modulus") == trees_of(runs.bundle, "bulk_modulus")
    assert merged.calibrations["bulk_modulus"] == first.calibrations["bulk_modulus"]


def test_moduli_of_two_origins_still_derive(runs, tmp_path):
    write_small_run(str(tmp_path / "bulk"), ["bulk_modulus"], ("magpie",), seed=7)
    published = publish(runs.encoder, [str(tmp_path / "bulk"), runs.bundle], str(tmp_path / "bundle"))
    found = load_bundle(published["out"]).calibrations
    widest = max(found["bulk_modulus"].width, found["shear_modulus"].width)
    assert {t: c.width for t, c in found.items() if t in ELASTIC[2:]} == dict.fromkeys(ELASTIC[2:], widest)


def test_a_derived_target_strays_no_further_than_its_moduli():
    rng = np.random.default_rng(0)
    k, g, density, volume = (rng.lognormal(mean, 1, 5000) for mean in (4, 3, 1.5, 2.7))
    by_k, by_g = np.exp(rng.uniform(-0.5, 0.5, (2, 5000)))
    allowed = np.maximum(abs(np.log(by_k)), abs(np.log(by_g))) + 1e-12
    before, after = (with_derived(dict(zip(ELASTIC, x, strict=False)), density, volume)
                     for x in ((k, g), (k * by_k, g * by_g)))  # fmt: skip
    assert all((abs(np.log(after[t] / before[t])) <= allowed).all() for t in ELASTIC[2:])


def test_a_bundle_of_a_bundle_keeps_every_target(runs, tmp_path):
    again = publish(runs.bundle, [runs.bundle], str(tmp_path / "again"))
    assert load_bundle(again["out"]).calibrations == load_bundle(runs.bundle).calibrations
    assert again["version"].split("-")[1] == runs.published["version"].split("-")[1]


def test_a_bundle_published_from_the_packaged_one_keeps_every_target(tmp_path):
    again = publish("pretrained:", ["pretrained:"], str(tmp_path / "again"))
    assert load_bundle(again["out"]).calibrations == load_bundle("pretrained:").calibrations


def test_what_regressors_have_in_common_is_kept_once(tmp_path):
    published = publish("pretrained:", ["pretrained:"], str(tmp_path / "again"))
    files, card = version_files(published), load_bundle(published["out"]).card
    trunks = [name for name in card["files"] if name.endswith("sites.trunk.safetensors")]
    assert len(trunks) == 4
    assert [name for name in files if name in trunks] == trunks[:1]


def test_a_run_on_another_encoders_latents_is_refused_by_name(runs, tmp_path):
    with pytest.raises(BundleError, match=r"foreign.*learned from the latents of another encoder"):
        publish(runs.encoder, [runs.elastic, runs.foreign], str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


@pytest.fixture
def mixed(runs, tmp_path) -> str:
    """A bundle whose domain spans latents as well as what no encoder changes."""
    write_small_run(str(tmp_path / "all"), [OWN], ("latent", "magpie"), encoder=runs.digest)
    return publish(runs.encoder, [str(tmp_path / "all"), runs.elastic], str(tmp_path / "mixed"))["out"]


def test_the_span_of_another_encoders_latents_says_nothing(mixed, tmp_path):
    write_encoder(str(tmp_path / "other"), seed=1)
    bundle = load_bundle(publish(str(tmp_path / "other"), [mixed], str(tmp_path / "moved"))["out"])
    before = load_bundle(mixed).domain
    assert bundle.targets == ELASTIC
    assert {label.split(".")[0] for label in before.labels} == {"latent", "magpie"}
    assert {label.split(".")[0] for label in bundle.domain.labels} == {"magpie"}
    kept = [i for i, label in enumerate(before.labels) if label in bundle.domain.labels]
    assert bundle.domain.highest == tuple(before.highest[i] for i in kept)


def test_a_domain_of_foreign_latents_alone_is_refused(runs, tmp_path):
    both = publish(runs.encoder, [runs.latent, runs.elastic], str(tmp_path / "both"))["out"]
    write_encoder(str(tmp_path / "other"), seed=1)
    with pytest.raises(BundleError, match="another encoder's latents only"):
        publish(str(tmp_path / "other"), [both], str(tmp_path / "moved"))


def test_nothing_fits_the_encoder(runs, tmp_path):
    latents_only = publish(runs.encoder, [runs.latent], str(tmp_path / "latents"))["out"]
    write_encoder(str(tmp_path / "other"), seed=1)
    with pytest.raises(BundleError, match="no regressor fits this encoder"):
        publish(str(tmp_path / "other"), [latents_only], str(tmp_path / "bundle"))
    assert not (tmp_path / "bundle").exists()


def test_one_modulus_alone_derives_nothing(runs, tmp_path):
    write_small_run(str(tmp_path / "bulk"), ["bulk_modulus"], ("magpie",))
    published = publish(runs.encoder, [str(tmp_path / "bulk")], str(tmp_path / "bundle"))
    assert load_bundle(published["out"]).targets == ["bulk_modulus"]


@pytest.mark.parametrize("missing", ["encoder", "regressors"])
def test_what_is_missing_is_named(runs, tmp_path, missing):
    nowhere = str(tmp_path / "nowhere")
    encoder, trees = (nowhere, runs.elastic) if missing == "encoder" else (runs.encoder, nowhere)
    with pytest.raises(BundleError, match="nowhere"):
        publish(encoder, [trees], str(tmp_path / "bundle"))


def test_a_learned_interval_rests_on_out_of_fold_residuals(runs):
    table = pd.read_parquet(io.BytesIO(read_bytes(f"{runs.elastic}/out_of_fold.parquet")))
    bulk = table[table.target == "bulk_modulus"]
    expected = calibrate(bulk.expected.to_numpy(), bulk.found.to_numpy(), log=True)
    assert load_bundle(runs.bundle).calibrations["bulk_modulus"] == expected


def test_a_derived_interval_rests_on_what_follows_from_them(runs):
    table = pd.read_parquet(io.BytesIO(read_bytes(f"{runs.elastic}/out_of_fold.parquet")))
    bulk, shear = (table[table.target == t].sort_values("material_id") for t in ELASTIC[:2])
    sides = [youngs_modulus(bulk[s].to_numpy(), shear[s].to_numpy()) for s in ("expected", "found")]
    found = load_bundle(runs.bundle).calibrations["youngs_modulus"]
    assert found.count == COUNT
    np.testing.assert_allclose(found.width, calibrate(*sides, log=True).width, rtol=1e-12)
