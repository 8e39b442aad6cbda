"""Label tables: units are checked, never converted; ids are text."""

import gzip
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from rhoray.core.errors import LabelError
from rhoray.core.storage import write_bytes
from rhoray.sources.labels import read_labels

CSV = "material_id,bulk_modulus,band_gap,comment,split\nmp-1,100.5,1.1,good,train\nmp-2,,0.0,,test\n"


@pytest.fixture
def table(tmp_path):
    def write(content, name="labels.csv"):
        uri = str(tmp_path / name)
        write_bytes(uri, content.encode() if isinstance(content, str) else content)
        return uri

    return write


def test_csv(table):
    labels = read_labels(table(CSV))
    assert labels.index.tolist() == ["mp-1", "mp-2"]
    assert labels.columns.tolist() == ["bulk_modulus", "band_gap", "split"]
    assert labels.bulk_modulus["mp-1"] == 100.5
    assert np.isnan(labels.bulk_modulus["mp-2"])
    assert labels.split.tolist() == ["train", "test"]


def test_compressed_csv_and_parquet_hold_the_same(table, tmp_path):
    expected = read_labels(table(CSV))
    pd.read_csv(table(CSV)).to_parquet(tmp_path / "labels.parquet")
    pd.testing.assert_frame_equal(read_labels(table(gzip.compress(CSV.encode()), "labels.csv.gz")), expected)
    pd.testing.assert_frame_equal(read_labels(str(tmp_path / "labels.parquet")), expected)


@pytest.mark.parametrize("header", ["bulk_modulus (GPa)", "bulk_modulus [GPa]", " bulk_modulus(GPa) ", "bulk_modulus"])
def test_the_right_unit_is_taken_off(table, header):
    assert read_labels(table(f"material_id,{header}\nmp-1,100\n")).bulk_modulus["mp-1"] == 100


def test_the_unit_of_a_column_of_ones_own(table):
    assert read_labels(table("material_id,band_gap (eV)\nmp-1,1.1\n")).columns.tolist() == ["band_gap"]


def test_whole_numbers_are_floats(table):
    assert read_labels(table("material_id,bulk_modulus\nmp-1,100\n")).bulk_modulus.dtype == float


def test_ids_of_digits_stay_as_they_are(table):
    assert read_labels(table("material_id,bulk_modulus\n007,100\n1.10,90\n")).index.tolist() == ["007", "1.10"]


REFUSED = {
    "wrong unit": ("material_id,bulk_modulus (Mbar)\nmp-1,1\n", "'Mbar', expected 'GPa'"),
    "no unit between the brackets": ("material_id,bulk_modulus ()\nmp-1,1\n", "expected 'GPa'"),
    "negative modulus": ("material_id,bulk_modulus\nmp-1,10\nmp-2,-3\n", "first mp-2 with -3"),
    "modulus in Pa": ("material_id,shear_modulus\nmp-1,1e11\n", "outside 0.01 to 1000.0 GPa"),
    "infinite": ("material_id,bulk_modulus\nmp-1,inf\n", "outside"),
    "energy in kJ/mol": ("material_id,formation_energy_per_atom\nmp-1,-411\n", "-10.0 to 10.0 eV/atom"),
    "an id twice": ("material_id,bulk_modulus\nmp-1,1\nmp-1,2\n", "'mp-1' stands more than once"),
    "no key": ("id,bulk_modulus\nmp-1,1\n", "expected 'material_id'"),
    "empty": ("", "neither CSV nor Parquet"),
    "not text": (b"\xff\xfe\x00\x80", "neither CSV nor Parquet"),
    "damaged parquet": (b"PAR1" + bytes(20), "neither CSV nor Parquet"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused(table, name):
    content, reason = REFUSED[name]
    with pytest.raises(LabelError, match=reason):
        read_labels(table(content))


def test_a_truncated_gz(table):
    with pytest.raises(LabelError, match="neither CSV nor Parquet"):
        read_labels(table(gzip.compress(CSV.encode() * 50)[:40], "labels.csv.gz"))


def test_no_table(tmp_path):
    with pytest.raises(LabelError, match="no such table"):
        read_labels(str(tmp_path / "labels.csv"))


def test_text_where_a_target_should_be(table):
    with pytest.raises(LabelError, match="bulk_modulus"):
        read_labels(table("material_id,bulk_modulus\nmp-1,100\nmp-2,about 90\n"))


@pytest.mark.parametrize("word", ["Test", "holdout", "validation"])
def test_a_split_that_is_none_is_refused(tmp_path, word):
    (tmp_path / "labels.csv").write_text(f"material_id,bulk_modulus,split\na,1.0,train\nb,2.0,{word}\n")
    with pytest.raises(LabelError, match=f"split of b is '{word}'"):
        read_labels(str(tmp_path / "labels.csv"))


def test_an_empty_split_leaves_the_choice_to_the_formula(tmp_path):
    (tmp_path / "labels.csv").write_text("material_id,bulk_modulus,split\na,1.0,train\nb,2.0,\n")
    assert read_labels(str(tmp_path / "labels.csv")).split.isna().tolist() == [False, True]


def test_numbers_as_text_or_decimal_are_numbers(tmp_path):
    table = pd.DataFrame({"material_id": ["a"], "bulk_modulus": [Decimal("12.5")], "shear_modulus": ["7.25"]})
    table.to_parquet(tmp_path / "t.parquet")
    assert read_labels(str(tmp_path / "t.parquet")).loc["a"].tolist() == [12.5, 7.25]
