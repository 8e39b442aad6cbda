"""Foreign crystals are told from ordinary ones; the same inputs as benchmarks/bench_domain.py, fewer of them."""

import functools
import json

import numpy as np
import pytest

from benchmarks import _foreign as foreign
from rhoray.density.crystal import mass_density, volume_per_atom
from rhoray.models.domain import domain_from_json, fit_distance, fit_domain
from rhoray.store.codec import to_compact
from tests.unit.builders import sample_densities

COUNT = 24
LABELS = ["density.volume_per_atom", "density.mass_density"]
RNG = np.random.default_rng(0)


def facts(densities):
    return np.array([[volume_per_atom(d), mass_density(d)] for d in densities])


@functools.cache
def crystals():
    return sample_densities(120)


@functools.cache
def domain():
    elements = [s for d in crystals() for s in d.species]
    return fit_domain([*elements, "H", "N", "O", "C", "F", "S", "Na", "Cl"], LABELS, facts(crystals()))


def flagged(densities) -> float:
    stored = [to_compact(d) for d in densities]
    return float(np.mean([bool(domain().reasons(d, f)) for d, f in zip(stored, facts(stored), strict=True)]))


def test_ordinary_crystals_are_known():
    assert flagged(crystals()[:60]) <= 0.05


@pytest.mark.parametrize(
    "spoil",
    [
        functools.partial(foreign.with_noise, share=0.05, rng=RNG),
        functools.partial(foreign.scaled_noise, share=0.05, rng=RNG),
        functools.partial(foreign.pure_noise, rng=RNG),
        functools.partial(foreign.shuffled, rng=RNG),
        foreign.halved,
        foreign.half_empty,
    ],
)
def test_a_spoilt_density_is_foreign(spoil):
    assert flagged([spoil(d) for d in crystals()[:COUNT]]) >= 0.95


def test_a_molecule_in_a_box_is_foreign():
    assert flagged(foreign.molecules((3.0, 5.0))) == 1


def test_the_density_of_another_crystal_is_foreign():
    pairs = zip(crystals()[:COUNT], crystals()[1:], strict=False)
    assert flagged([foreign.other_crystal(a, b) for a, b in pairs]) >= 0.5


def test_the_limit_of_distance_leaves_new_ordinary_rows_inside():
    rng = np.random.default_rng(3)
    mixing = rng.normal(size=(30, 30))
    rows = rng.normal(size=(900, 30)) @ mixing
    distance = fit_distance([f"x{i}" for i in range(30)], rows[:300])
    assert (distance.measure(rows[300:]) > distance.limit).mean() < 0.02
    assert (distance.measure(rows[300:] + 40) > distance.limit).mean() > 0.95


def test_a_small_group_far_from_the_centre_is_known():
    rng = np.random.default_rng(5)
    rows, far = rng.normal(size=(600, 12)), np.full(12, 12.0)
    rows[:12] += far
    distance = fit_distance([f"x{i}" for i in range(12)], rows)
    group = rng.normal(size=(20, 12)) + far
    assert (distance.measure(group) > distance.limit).mean() < 0.2
    assert (distance.measure(group - 2 * far) > distance.limit).all()


def test_distances_survive_json():
    rows = np.random.default_rng(6).normal(size=(80, 4))
    labels = [f"magpie.{i}" for i in range(4)]
    known = fit_domain(["Na"], labels, rows)
    raw = json.loads(json.dumps(known.to_json()))
    expected = known.distance.measure(rows[:9] + 3)
    np.testing.assert_allclose(domain_from_json(raw).distance.measure(rows[:9] + 3), expected, rtol=0.01)
    del raw["distance"]["landmarks"]  # as bundles were before: from the centre
    old = domain_from_json(raw).distance
    np.testing.assert_allclose(old.measure(rows), np.sqrt((old.project(rows) ** 2).mean(axis=1)))


def test_distance_ignores_latents():
    rows = np.random.default_rng(4).normal(size=(80, 3))
    assert fit_distance(["latent.a", "latent.b", "magpie.x"], rows).labels == ("magpie.x",)
    assert fit_distance(["latent.a", "latent.b", "latent.c"], rows) is None
