"""Loading a bundle: which version a URI means, and that nothing incomplete or altered is ever used."""

import hashlib
import json
import shutil
from pathlib import Path

import pytest

from rhoray.core.errors import BundleError
from rhoray.core.storage import normalise
from rhoray.registry.bundle import load_bundle, publish, resolve
from tests.unit.registry.small_run import OWN, write_encoder

FILES = (
    "autoencoder.safetensors",
    "autoencoder.json",
    "calibration.json",
    "domain.json",
    "formulas.json",
    "regressors/bulk_modulus/model.txt",
    "regressors/shear_modulus/regressor.json",
)


@pytest.fixture
def version(runs, tmp_path) -> Path:
    """A copy of a version that a test may break."""
    source = Path(runs.published["out"].removeprefix("file://"))
    return Path(shutil.copytree(source, tmp_path / "bundle" / source.name))


def vouch_for(version: Path) -> None:
    """Bring the card's hashes up to date, as someone who alters a bundle on purpose would."""
    card = json.loads((version / "card.json").read_text())
    card["files"] = {
        name: hashlib.sha256((version / name).read_bytes()).hexdigest()
        for name in card["files"]
        if (version / name).exists()
    }
    (version / "card.json").write_text(json.dumps(card))


def test_the_folder_of_versions_means_its_newest(runs):
    assert resolve(runs.bundle) == resolve(f"{runs.bundle}/") == runs.published["out"]


def test_a_version_means_itself(runs):
    assert resolve(runs.published["out"]) == runs.published["out"]
    assert load_bundle(runs.published["out"]).card == load_bundle(runs.bundle).card


def test_an_older_version_stays_what_it_was(runs, tmp_path):
    first = publish(runs.encoder, [runs.elastic], str(tmp_path / "b"))
    before = load_bundle(first["out"]).card
    second = publish(runs.encoder, [runs.elastic, runs.latent], str(tmp_path / "b"))
    assert load_bundle(str(tmp_path / "b")).card["version"] == second["version"] != first["version"]
    assert load_bundle(first["out"]).card == before


@pytest.mark.parametrize("make", [Path.exists, Path.mkdir, Path.touch],
                         ids=["absent", "empty-folder", "file"])  # fmt: skip
def test_no_bundle(tmp_path, make):
    make(tmp_path / "here")
    with pytest.raises(BundleError, match="expected the --out of publish"):
        load_bundle(str(tmp_path / "here"))


def test_latest_names_a_version_that_is_gone(tmp_path):
    (tmp_path / "LATEST").write_text("20260101-00000000\n")
    with pytest.raises(BundleError, match=r"20260101-00000000: no card\.json"):
        load_bundle(str(tmp_path))


def flipped(content: bytes) -> bytes:
    middle = len(content) // 2
    return content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :]


@pytest.mark.parametrize("harm", [flipped, lambda content: content[:-1]], ids=["altered", "truncated"])
@pytest.mark.parametrize("name", FILES)
def test_a_harmed_file_is_refused_by_name(version, name, harm):
    (version / name).write_bytes(harm((version / name).read_bytes()))
    with pytest.raises(BundleError, match=f"{name} was altered"):
        load_bundle(str(version))


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_by_name(version, name):
    (version / name).unlink()
    with pytest.raises(BundleError, match=f"{name} is missing"):
        load_bundle(str(version))


@pytest.mark.parametrize("name", ["calibration.json", "domain.json", "autoencoder.json", FILES[-1]])
def test_a_bundle_that_never_had_a_file_is_refused(version, name):
    (version / name).unlink()
    vouch_for(version)
    with pytest.raises(BundleError, match=r"incomplete|not an autoencoder|not a regressor"):
        load_bundle(str(version))


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"files": []}'],
                         ids=["empty", "garbled", "list", "no-files", "wrong-files"])  # fmt: skip
def test_a_garbled_card_is_refused(version, text):
    (version / "card.json").write_text(text)
    with pytest.raises(BundleError, match=r"card\.json is garbled|is incomplete"):
        load_bundle(str(version))


def test_another_encoder_is_refused_even_when_the_hashes_fit(version, tmp_path):
    write_encoder(str(tmp_path / "other"), seed=1)
    shutil.copy(tmp_path / "other" / "autoencoder.safetensors", version)
    vouch_for(version)
    with pytest.raises(BundleError, match=f"{OWN} learned from latents of encoder"):
        load_bundle(str(version))


def test_of_equal_files_one_is_enough_and_it_is_checked(version):
    card = json.loads((version / "card.json").read_text())
    digest = card["files"]["regressors/bulk_modulus/model.txt"]
    (version / "regressors/shear_modulus/model.txt").unlink()
    card["files"]["regressors/shear_modulus/model.txt"] = digest
    (version / "card.json").write_text(json.dumps(card))
    loaded = load_bundle(str(version)).regressors
    assert loaded["shear_modulus"].model.to_bytes() == loaded["bulk_modulus"].model.to_bytes()
    (version / "regressors/bulk_modulus/model.txt").write_bytes(b"altered")
    with pytest.raises(BundleError, match="altered"):
        load_bundle(str(version))


def test_files_that_the_card_does_not_name_do_not_matter(version):
    (version / "regressors" / "bulk_modulus" / "notes.txt").write_text("hello")
    assert load_bundle(str(version)).targets == load_bundle(normalise(str(version))).targets


def test_the_packaged_bundle_has_every_promised_target():
    assert load_bundle("pretrained:").targets == [
        "bulk_modulus",
        "shear_modulus",
        "youngs_modulus",
        "debye_temperature",
        "formation_energy_per_atom",
        "cohesive_energy_per_atom",
    ]


def test_the_packaged_bundle_says_where_it_comes_from():
    card = load_bundle("pretrained:").card
    assert card["licence"]
    assert all(target["unit"] and target["interval_90"]["residuals"] > 100 for target in card["targets"])
