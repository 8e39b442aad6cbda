"""The packaged bundle on the packaged sample's test split, which it has not seen."""

import dataclasses
import time

import numpy as np
import pytest

from rhoray.density.crystal import reduced_formula, structure_of
from rhoray.density.promolecule import promolecular_density
from rhoray.inference.predictor import Predictor, read_input
from rhoray.local.npz import read_npz
from rhoray.registry.bundle import load_bundle
from rhoray.sources.items import sample_uri
from rhoray.store.codec import to_compact
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import row_density
from tests.unit.builders import sample_rows

COUNT = 24


@pytest.fixture(scope="module")
def pretrained() -> Predictor:
    return Predictor.load("pretrained:")


@pytest.fixture(scope="module")
def unseen():
    """Densities and labels of some test crystals of the sample's first shard."""
    table = read_manifest(sample_uri()).written.set_index("material_id")
    rows = [r for r in sample_rows() if table.split[r["material_id"]] == "test"][:COUNT]
    return [row_density(r) for r in rows], table.loc[[r["material_id"] for r in rows]]


def column(predictions, target):
    return np.array([next(p.value for p in f.properties if p.target == target) for f in predictions])


def test_no_test_compound_of_the_sample_was_seen(pretrained, unseen):
    densities, _ = unseen
    assert len(densities) > 5
    assert not {reduced_formula(d) for d in densities} & pretrained.bundle.formulas


@pytest.mark.parametrize(("target", "most"), [("bulk_modulus", 15.0), ("shear_modulus", 18.0)])
def test_errors_on_unseen_compounds(pretrained, unseen, target, most):
    densities, labels = unseen
    found = column(pretrained(densities), target)
    expected = labels[target].to_numpy(float)
    assert np.abs(found - expected).mean() < most
    assert np.abs(found - expected).mean() < 0.5 * np.abs(expected.mean() - expected).mean()


def test_company_changes_no_digit(pretrained, unseen):
    densities = unseen[0][:5]
    assert pretrained(densities) == [pretrained([d])[0] for d in densities]


def test_a_structure_gives_the_moduli_of_its_density(pretrained, unseen):
    densities, _ = unseen
    superposed = [to_compact(promolecular_density(structure_of(d))) for d in densities]
    found, expected = (column(pretrained(some), "bulk_modulus") for some in (superposed, densities))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_half_the_electrons_change_no_modulus(pretrained, unseen):
    densities, _ = unseen
    halved = [dataclasses.replace(d, values=d.values / 2) for d in densities[:4]]
    found, expected = (column(pretrained(some), "shear_modulus") for some in (halved, densities[:4]))
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_it_is_small_and_loads_at_once(pretrained):
    started = time.process_time()
    bundle = load_bundle("pretrained:")
    assert time.process_time() - started < 2
    assert set(bundle.regressors) == {t["target"] for t in bundle.card["targets"] if "derived_from" not in t}
    for fact in ("data", "protocol", "limits", "labels_licence"):
        assert bundle.card[fact]


@pytest.mark.shared
def test_files_of_other_codes_are_in_domain(pretrained, shared):
    files = [read_input(path.read_bytes()) for path in sorted((shared / "vasp").iterdir())]
    dialects = sorted((shared / "data" / "dialects").glob("*.npz"))[::4]
    others = [to_compact(read_npz(path, code)) for path in dialects for code in ("ref", "alt", "ae", "soft")]
    found = pretrained([*files, *others])
    assert [p.reasons for p in found[: len(files)]] == [()] * len(files)
    assert np.mean([p.in_domain for p in found]) >= 0.95
