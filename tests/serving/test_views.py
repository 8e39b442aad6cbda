"""What the page gets is what the file holds: same numbers as /v1/predict, densities that integrate to the electrons."""

import base64

import numpy as np
import pytest

from rhoray.density.read import read_density
from rhoray.density.vasp import write_chgcar
from serve.views import VIEW_POINTS, view_shape
from tests.unit.builders import ROCK_SALT, skewed


@pytest.fixture(scope="module")
def crystal(sample_densities):
    """The smallest sample, which the model knows, and its CHGCAR."""
    material_id, density = next(iter(sample_densities.items()))
    return material_id, density, write_chgcar(density).encode()


@pytest.fixture(scope="module")
def view(post, crystal):
    return post("/v1/view", crystal[2]).raise_for_status().json()


def values_of(grid):
    return np.frombuffer(base64.b64decode(grid["values"]), "<f4").reshape(grid["shape"])


def test_numbers_are_those_of_predict(post, crystal, view):
    predicted = post("/v1/predict", crystal[2]).json()
    assert view["predictions"] == predicted["predictions"]
    assert view["material"] == predicted["material"]
    assert set(view["seconds"]) == {*predicted["seconds"], "decode"}


def test_density_holds_every_electron(view):
    values = values_of(view["density"])
    volume = abs(np.linalg.det(view["lattice"]))
    assert max(values.shape) == VIEW_POINTS
    assert values.mean(dtype=float) * volume == pytest.approx(view["material"]["n_electrons"], rel=1e-5)


def test_density_is_where_it_was(crystal, view):
    _, density, _ = crystal
    values, shape = values_of(view["density"]), view["density"]["shape"]
    peak = np.array(np.unravel_index(values.argmax(), values.shape)) / shape
    expected = np.array(np.unravel_index(density.values.argmax(), density.values.shape)) / density.values.shape
    away = np.abs((peak - expected + 0.5) % 1 - 0.5)
    assert (away <= 1.5 / np.array(density.values.shape)).all()


def test_reconstruction_is_near(view):
    original, made = values_of(view["density"]), values_of(view["reconstruction"])
    error = np.abs(made - original).sum() / original.sum()
    assert 0 < view["density_error"] < 0.02
    assert error == pytest.approx(view["density_error"], rel=0.3)  # another grid, the same charge


def test_atoms(crystal, view):
    _, density, _ = crystal
    assert [a["element"] for a in view["atoms"]] == list(density.species)
    assert np.allclose([a["position"] for a in view["atoms"]], density.frac_coords % 1)
    assert all(0.2 < a["radius"] < 3 for a in view["atoms"])


def test_known_compound_is_found_first(crystal, view):
    first, *rest = view["nearest"]
    assert (first["material_id"], first["distance"]) == (crystal[0], 0)
    assert {r["target"]: r["unit"] for r in first["references"]}["bulk_modulus"] == "GPa"
    assert (np.diff([k["distance"] for k in rest]) > -1e-9).all()


def test_a_structure_alone_is_shown_too(post):
    answer = post("/v1/view", ROCK_SALT.encode(), "NaCl.cif").raise_for_status().json()
    assert answer["material"]["density_kind"] == "promolecular"
    assert answer["space_group_number"] == 225
    assert answer["in_domain"]


def test_view_grid_follows_the_shape_of_the_cell():
    density = skewed()
    lengths = np.linalg.norm(density.lattice, axis=1)
    shape = np.array(view_shape(density))
    assert shape.max() == VIEW_POINTS
    assert np.allclose(shape / shape.max(), lengths / lengths.max(), atol=0.02)


def test_reconstructed_chgcar(post, crystal):
    _, density, content = crystal
    response = post("/v1/reconstruct", content).raise_for_status()
    made = read_density(response.content)
    assert made.values.shape == density.values.shape
    assert made.species == density.species
    assert np.allclose(made.lattice, density.lattice)
    found = np.abs(made.values - density.values).sum() / density.values.sum()
    assert float(response.headers["x-density-error"]) == pytest.approx(found, rel=1e-3)
    assert 0 < found < 0.02
    assert made.n_electrons == pytest.approx(density.n_electrons, rel=2e-3)


@pytest.mark.parametrize("path", ["/v1/view", "/v1/reconstruct"])
def test_what_is_no_density_is_refused(post, path):
    assert post(path, b"\xff\xd8\xff\xe0" + bytes(99)).status_code == 415
    assert post(path, b"").status_code == 400
