"""The one way from a file to numbers."""

import numpy as np
import pytest
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import InputRefused
from rhoray.core.targets import debye_temperature
from rhoray.density.crystal import mass_density, structure_of, volume_per_atom
from rhoray.density.vasp import write_chgcar
from rhoray.inference.predictor import read_input
from rhoray.store.codec import to_compact
from tests.unit.builders import gzipped, sample_densities, skewed, supercell, with_lattice


def values(prediction, field="value"):
    return {p.target: getattr(p, field) for p in prediction.properties}


@pytest.fixture(scope="module")
def densities():
    return sample_densities(36)[28:]


@pytest.fixture(scope="module")
def predictions(small_predictor, densities):
    return small_predictor(densities)


def test_one_prediction_each_in_reading_order(predictions, densities):
    assert len(predictions) == len(densities)
    for prediction in predictions:
        assert [(p.target, p.unit) for p in prediction.properties] == [
            ("bulk_modulus", "GPa"),
            ("shear_modulus", "GPa"),
            ("youngs_modulus", "GPa"),
            ("debye_temperature", "K"),
        ]


def test_youngs_modulus_contradicts_nothing(predictions):
    for prediction in predictions:
        v = values(prediction)
        bulk, shear = v["bulk_modulus"], v["shear_modulus"]
        assert v["youngs_modulus"] == 9 * bulk * shear / (3 * bulk + shear)


def test_the_debye_temperature_follows_too(predictions, densities):
    for prediction, density in zip(predictions, densities, strict=True):
        v = values(prediction)
        facts = v["bulk_modulus"], v["shear_modulus"], mass_density(density), volume_per_atom(density)
        assert v["debye_temperature"] == pytest.approx(debye_temperature(*(np.array([x]) for x in facts))[0])


def test_values_lie_in_their_intervals(predictions):
    for prediction in predictions:
        for p in prediction.properties:
            assert 0 < p.lower <= p.value <= p.upper < np.inf


def test_batch_equals_one_by_one(small_predictor, predictions, densities):
    assert [small_predictor([density])[0] for density in densities] == predictions


def test_twice_the_same(small_predictor, predictions, densities):
    assert small_predictor(densities) == predictions


def test_nothing_in_nothing_out(small_predictor):
    assert small_predictor([]) == []


@pytest.mark.parametrize("pack", [bytes, gzipped], ids=["plain", "gzip"])
def test_a_file_gives_what_its_density_gives(small_predictor, densities, pack):
    density = densities[0]
    from_text = small_predictor([read_input(pack(write_chgcar(density).encode()))])[0]
    expected = small_predictor([to_compact(density)])[0]
    assert values(from_text) == pytest.approx(values(expected), rel=1e-6)
    assert from_text.in_domain == expected.in_domain


def test_reasons_say_why_not(small_predictor):
    huge = with_lattice(skewed(), 3 * skewed().lattice)
    prediction = small_predictor([huge])[0]
    assert not prediction.in_domain
    assert any("volume per atom" in reason for reason in prediction.reasons)


def test_training_crystals_are_known(small_predictor):
    for prediction in small_predictor(sample_densities(3)):
        assert prediction.in_domain
        assert prediction.reasons == ()


def test_a_supercell_is_the_same_material(small_predictor):
    density = sample_densities(1)[0]
    once, twice = small_predictor([density, supercell(density, (2, 1, 1))])
    assert values(twice) == pytest.approx(values(once), rel=0.1)


def test_refusals_pass_through():
    with pytest.raises(InputRefused, match="JPEG"):
        read_input(b"\xff\xd8\xff\xe0")


def test_a_predictor_knows_its_name(small_predictor):
    assert small_predictor.name == "small"
    assert small_predictor.version == small_predictor.card["version"]


def test_a_structure_alone_gives_numbers_and_says_so(small_predictor, densities):
    poscar = Poscar(structure_of(densities[0])).get_str().encode()
    density = read_input(poscar)
    assert density.kind == "promolecular"
    prediction, expected = small_predictor([density, densities[0]])
    assert values(prediction) == pytest.approx(values(expected), rel=0.5)
    assert not prediction.in_domain
    assert prediction.reasons[0] == "this density is promolecular, the model was trained on dft ones"
