"""A predictor agrees with itself, whoever asks and however, and knows what it does not know."""

import dataclasses
import math
import threading

import numpy as np
import pytest

from rhoray.core.errors import BundleError, UnknownFormat
from rhoray.core.targets import TARGETS, debye_temperature
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import mass_density, structure_of, volume_per_atom
from rhoray.density.promolecule import promolecular_density
from rhoray.density.vasp import write_chgcar
from rhoray.inference.predictor import Predictor, read_input
from rhoray.store.codec import to_compact
from tests.unit.builders import gzipped, salt, skewed
from tests.unit.registry.small_run import OWN, crystals, materials

FEW = 4


@pytest.fixture(scope="module")
def predictions(predictor):
    return predictor(crystals()[:FEW])


def values(prediction) -> dict[str, float]:
    return {p.target: p.value for p in prediction.properties}


def test_targets_come_in_reading_order_with_their_units(predictions):
    units = {t: TARGETS[t].unit for t in TARGETS if TARGETS[t].unit in {"GPa", "K"}} | {OWN: "e"}
    assert [{p.target: p.unit for p in prediction.properties} for prediction in predictions] == [units] * FEW
    assert [p.target for p in predictions[0].properties] == list(units)


def test_youngs_modulus_is_9kg_over_3k_plus_g(predictions):
    for found in map(values, predictions):
        k, g = found["bulk_modulus"], found["shear_modulus"]
        assert found["youngs_modulus"] == pytest.approx(9 * k * g / (3 * k + g), rel=1e-12)


def test_debye_temperature_follows_from_the_same_moduli(predictions):
    for density, found in zip(crystals(), map(values, predictions), strict=False):
        facts = found["bulk_modulus"], found["shear_modulus"], mass_density(density), volume_per_atom(density)
        expected = debye_temperature(*(np.array([x]) for x in facts))[0]
        assert found["debye_temperature"] == pytest.approx(expected, rel=1e-12)


def test_every_value_is_finite_and_inside_its_interval(predictions):
    everything = [p for prediction in predictions for p in prediction.properties]
    assert all(math.isfinite(p.value) and p.lower <= p.value <= p.upper for p in everything)
    assert all(p.lower > 0 for p in everything if p.target in TARGETS)


def test_training_crystals_are_near_their_labels_and_in_domain(predictions):
    for prediction, label in zip(predictions, materials().bulk_modulus, strict=False):
        assert values(prediction)["bulk_modulus"] == pytest.approx(label, rel=0.5)
        assert prediction.in_domain, prediction.reasons


def test_a_batch_equals_one_by_one(predictor, predictions):
    assert [predictor([density])[0] for density in crystals()[:FEW]] == predictions


def test_neighbours_in_a_batch_do_not_matter(predictor, predictions):
    assert predictor(crystals()[:FEW][::-1]) == predictions[::-1]


def test_the_same_answer_twice(predictor, predictions):
    assert predictor(crystals()[:FEW]) == predictions


def test_a_bundle_loaded_again_answers_the_same(predictor, predictions):
    assert Predictor.load(predictor.bundle.uri)(crystals()[:FEW]) == predictions


def test_threads_may_share_it(predictor, predictions):
    found = {}
    threads = [
        threading.Thread(target=lambda i=i: found.update({i: predictor([crystals()[i]])[0]})) for i in range(FEW)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[i] for i in range(FEW)] == predictions


def test_latents_may_be_made_elsewhere(predictor, predictions):
    latents = predictor.encode(crystals()[:FEW])
    assert (latents.shape, latents.dtype) == ((FEW, 16, 16, 16, 16), np.float32)
    assert predictor.predict(crystals()[:FEW], latents) == predictions


def test_the_latent_is_looked_at_where_trees_learned_from_it(predictor, predictions):
    latents = np.random.default_rng(0).normal(size=(FEW, 16, 16, 16, 16)).astype(np.float32)
    found = predictor.predict(crystals()[:FEW], latents)
    assert [values(p)[OWN] for p in found] != [values(p)[OWN] for p in predictions]
    assert [values(p)["bulk_modulus"] for p in found] == [values(p)["bulk_modulus"] for p in predictions]


def test_one_or_many_in_any_form(predictor, tmp_path):
    """A path, a URI, bytes, a crystal and a density; one gives one prediction, a list a list."""
    density = crystals()[0]
    path = tmp_path / "CHGCAR.gz"
    path.write_bytes(gzipped(write_chgcar(density).encode()))
    one = predictor(read_input(path.read_bytes()))
    assert predictor(path) == predictor(str(path)) == predictor(path.as_uri()) == predictor(path.read_bytes()) == one
    crystal = structure_of(density)
    superposed = predictor(to_compact(promolecular_density(crystal)))
    assert predictor(crystal) == superposed
    assert predictor([path, crystal]) == [one, superposed]
    assert predictor((density,)) == [predictor(density)]


def test_what_can_not_be_read_is_said(predictor, tmp_path):
    with pytest.raises(FileNotFoundError):
        predictor(tmp_path / "absent")
    (tmp_path / "note.txt").write_text("hello")
    with pytest.raises(UnknownFormat):
        predictor(tmp_path / "note.txt")


def test_printed_it_is_a_table(predictor, predictions):
    lines = str(predictions[0]).splitlines()
    assert len(lines) == 1 + len(predictions[0].properties)
    assert lines[1].startswith("bulk modulus, GPa ")
    stranger = predictor(of_elements(crystals()[0], "Xe"))
    assert str(stranger).splitlines()[-1].startswith("outside of what the model knows: ")


def test_nothing_in_nothing_out(predictor):
    assert predictor([]) == []
    assert predictor.encode([]).shape == (0, 16, 16, 16, 16)


@pytest.mark.parametrize("index", range(FEW))
def test_a_chgcar_of_a_stored_density_gives_the_same_numbers(predictor, predictions, index):
    again = predictor([read_input(write_chgcar(crystals()[index]).encode())])[0]
    assert values(again) == pytest.approx(values(predictions[index]), rel=1e-6)


@pytest.mark.parametrize("make", [salt, skewed])
def test_a_file_is_read_as_training_stored_it(make):
    density = make()
    read, stored = read_input(gzipped(write_chgcar(density).encode())), to_compact(density)
    assert read.values.shape == stored.values.shape
    np.testing.assert_allclose(read.values, stored.values, rtol=2e-3, atol=1e-6)  # a float16 may round the other way
    assert read.n_electrons == pytest.approx(density.n_electrons, rel=1e-9)


def test_what_is_no_density_is_refused():
    with pytest.raises(UnknownFormat):
        read_input(b"hello")


def of_elements(density: ChargeDensity, symbol: str) -> ChargeDensity:
    return dataclasses.replace(density, species=(symbol,) * density.n_atoms)


@pytest.mark.parametrize("symbol", ["Xe", "Pu"])
def test_an_unknown_element_is_named(predictor, symbol):
    assert symbol not in predictor.bundle.domain.elements
    prediction = predictor([of_elements(crystals()[0], symbol)])[0]
    assert not prediction.in_domain
    assert any(symbol in reason for reason in prediction.reasons)
    assert all(math.isfinite(value) for value in values(prediction).values())


def test_an_expanded_crystal_is_out_of_domain(predictor):
    density = crystals()[0]
    vast = dataclasses.replace(density, values=density.values / 125, lattice=5 * density.lattice)
    found = predictor([vast, density])
    assert [p.in_domain for p in found] == [False, True]
    assert any(reason.startswith("volume per atom") for reason in found[0].reasons)


def test_it_says_which_model_it_is(predictor):
    assert predictor.name == "small"
    assert predictor.card["version"] == predictor.version
    assert predictor.bundle.uri.endswith(f"small/{predictor.version}")


def test_no_bundle_no_predictor(tmp_path):
    with pytest.raises(BundleError):
        Predictor.load(str(tmp_path))


def test_the_packaged_bundle_answers():
    prediction = Predictor.load("pretrained:")(crystals()[:1])[0]
    found = values(prediction)
    assert list(found) == list(TARGETS)
    assert prediction.in_domain, prediction.reasons
    assert found["bulk_modulus"] == pytest.approx(materials().bulk_modulus[0], rel=0.3)
