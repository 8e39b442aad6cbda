"""A run on storage: one folder per target, and tables that others can read."""

import io
import json

import pandas as pd

from rhoray.core.storage import find, join, normalise, read_bytes
from rhoray.models.domain import domain_from_json
from rhoray.models.regressor import load_regressor
from tests.unit.registry.small_run import COUNT, crystals, features, materials

BLOCKS = ("magpie", "density")


def test_a_run_holds_a_folder_per_target_and_three_tables(runs):
    root = normalise(runs.elastic)
    assert [stat.uri[len(root) + 1 :] for stat in find(root)] == [
        "domain.json",
        "formulas.json",
        "out_of_fold.parquet",
        *(f"regressors/{t}_modulus/{name}" for t in ("bulk", "shear") for name in ("model.txt", "regressor.json")),
    ]


def test_out_of_fold_has_one_row_per_crystal_and_target(runs):
    table = pd.read_parquet(io.BytesIO(read_bytes(join(runs.elastic, "out_of_fold.parquet"))))
    assert table.groupby("target").size().to_dict() == {"bulk_modulus": COUNT, "shear_modulus": COUNT}
    expected = table[table.target == "shear_modulus"].set_index("material_id").expected
    assert expected.to_dict() == materials().set_index("material_id").shear_modulus.to_dict()


def test_a_folder_is_a_regressor(runs):
    folder = join(runs.elastic, "regressors", "bulk_modulus")
    regressor = load_regressor({stat.uri.rsplit("/", 1)[1]: read_bytes(stat.uri) for stat in find(folder)})
    assert regressor.about.target == "bulk_modulus"
    assert (regressor.predict(features(BLOCKS)) > 0).all()


def test_the_domain_spans_the_crystals_of_the_run(runs):
    domain = domain_from_json(json.loads(read_bytes(join(runs.elastic, "domain.json"))))
    assert set(domain.elements) == {s for density in crystals() for s in density.species}
    rows = zip(crystals(), features(BLOCKS), strict=True)
    assert not [reasons for density, row in rows if (reasons := domain.reasons(density, row))]
