"""Parquet tables of structures: one item a row, read where it is needed, at any size."""

import time

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from rhoray.core.errors import InputRefused, Unavailable, Unreadable
from rhoray.core.storage import write_bytes
from rhoray.sources.items import Item, list_source, read_item, refuse_repeated
from rhoray.sources.structure_tables import structure_table
from tests.unit.builders import salt_chgcar

SALT = Structure.from_spacegroup("Fm-3m", Lattice.cubic(5.64), ["Na", "Cl"], [[0, 0, 0], [0.5, 0.5, 0.5]])
IRON = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])
POSCARS = [Poscar(s).get_str() for s in (SALT, IRON)]


def write(path, columns, **options) -> str:
    pq.write_table(pa.table(columns), path, **options)
    return str(path)


def test_one_item_a_row(tmp_path):
    uri = write(
        tmp_path / "t.parquet", {"material_id": ["mp-1", "mp-2"], "poscar": POSCARS, "bulk_modulus": [1.0, 2.0]}
    )
    items = list_source(uri).items
    assert [item.material_id for item in items] == ["mp-1", "mp-2"]
    assert [item.uri for item in items] == [f"file://{uri}#mp-1", f"file://{uri}#mp-2"]
    assert [read_item(item).n_electrons for item in items] == pytest.approx([56, 16])
    assert {read_item(item).kind for item in items} == {"promolecular"}


@pytest.mark.parametrize("column", ["poscar", "cif", "structure"])
def test_any_of_the_columns_may_hold_either_format(tmp_path, column):
    uri = write(tmp_path / "t.parquet", {"material_id": ["a", "b"], column: [POSCARS[1], IRON.to(fmt="cif")]})
    assert [read_item(item).n_electrons for item in list_source(uri).items] == pytest.approx([16, 16])


def test_rows_without_an_id_are_numbered(tmp_path):
    uri = write(tmp_path / "metals.parquet", {"poscar": POSCARS})
    assert [item.material_id for item in list_source(uri).items] == ["metals-0", "metals-1"]
    uri = write(tmp_path / "some.parquet", {"material_id": [None, 7], "poscar": POSCARS})
    assert [item.material_id for item in list_source(uri).items] == ["some-0", "7"]


def test_ids_may_hold_anything(tmp_path):
    ids = ["a#b", "c/d.parquet#e"]
    items = list_source(write(tmp_path / "t.parquet", {"material_id": ids, "poscar": POSCARS})).items
    assert [item.material_id for item in items] == ids
    assert [read_item(item).n_electrons for item in items] == pytest.approx([56, 16])


def test_an_id_that_stands_twice_is_refused_the_second_time(tmp_path):
    items = list_source(write(tmp_path / "t.parquet", {"material_id": ["a", "a"], "poscar": POSCARS})).items
    refused = refuse_repeated(items)
    assert list(refused) == [items[1].uri]
    assert "already that of" in str(refused[items[1].uri])


@pytest.mark.parametrize("content", [None, "", " \n"])
def test_a_row_without_a_structure(tmp_path, content):
    uri = write(tmp_path / "t.parquet", {"material_id": ["a", "b"], "poscar": [content, POSCARS[0]]})
    bad, good = list_source(uri).items
    with pytest.raises(Unreadable, match="column 'poscar' holds"):
        read_item(bad)
    assert read_item(good).n_atoms == 8


def test_a_row_that_is_no_structure(tmp_path):
    (item,) = list_source(write(tmp_path / "t.parquet", {"poscar": ["not a crystal"]})).items
    with pytest.raises(InputRefused):
        read_item(item)


def test_tables_beside_files(tmp_path):
    write(tmp_path / "t.parquet", {"material_id": ["a", "b"], "poscar": POSCARS})
    write(tmp_path / "u.parquet", {"material_id": ["c"], "band_gap": [1.0]})
    write_bytes(str(tmp_path / "salt_CHGCAR"), salt_chgcar())
    write_bytes(str(tmp_path / "iron.vasp"), POSCARS[1].encode())
    write_bytes(str(tmp_path / "x.parquet"), b"no Parquet")
    items = list_source(str(tmp_path)).items
    assert [item.material_id for item in items] == ["iron", "salt", "a", "b", "u", "x"]
    assert [read_item(item).kind for item in items[:4]] == ["promolecular", "dft", "promolecular", "promolecular"]


def test_limit_stops_within_a_table(tmp_path):
    uri = write(tmp_path / "t.parquet", {"material_id": ["a", "b"], "poscar": POSCARS})
    assert [item.material_id for item in list_source(uri, limit=1).items] == ["a"]


def test_a_hundred_thousand_rows(tmp_path):
    count = 100_000
    columns = {"material_id": [f"m{i}" for i in range(count)], "poscar": [POSCARS[i % 2] for i in range(count)]}
    uri = write(tmp_path / "t.parquet", columns, row_group_size=1000)
    items = list_source(uri).items
    assert len(items) == count
    found = [read_item(items[i]).n_electrons for i in (0, 1, 50_001, 99_999)]
    assert found == pytest.approx([56, 16, 16, 16])


def test_a_changed_table_is_read_anew(tmp_path):
    uri = write(tmp_path / "t.parquet", {"material_id": ["a"], "poscar": POSCARS[:1]})
    assert read_item(list_source(uri).items[0]).n_electrons == pytest.approx(56)
    write(tmp_path / "t.parquet", {"material_id": ["a", "b"], "poscar": POSCARS[::-1]})
    assert [read_item(item).n_electrons for item in list_source(uri).items] == pytest.approx([16, 56])


def test_a_row_that_vanished(tmp_path):
    uri = write(tmp_path / "t.parquet", {"material_id": ["a"], "poscar": POSCARS[:1]})
    with pytest.raises(Unavailable, match="has no row 'b'"):
        read_item(Item("b", f"file://{uri}#b"))


def test_a_shard_is_no_table_of_structures():
    assert structure_table(list_source("sample:").items[0].uri.partition("#")[0], "") is None


def test_a_chgcar_that_ends_before_its_grid_is_no_poscar(tmp_path):
    write_bytes(str(tmp_path / "iron_CHGCAR"), POSCARS[1].encode())
    with pytest.raises(Unreadable, match="truncated CHGCAR"):
        read_item(list_source(str(tmp_path)).items[0])


def test_a_row_may_be_called_chgcar(tmp_path):
    (item,) = list_source(write(tmp_path / "t.parquet", {"material_id": ["iron_CHGCAR"], "poscar": POSCARS[1:]})).items
    assert read_item(item).kind == "promolecular"


def test_a_damaged_table_is_a_file_to_refuse_and_no_reason_to_wait(tmp_path):
    pq.write_table(pa.table({"material_id": ["a"], "poscar": ["x"]}), tmp_path / "t.parquet")
    content = bytearray((tmp_path / "t.parquet").read_bytes())
    content[-60:-12] = bytes(48)
    (tmp_path / "t.parquet").write_bytes(content)
    started = time.monotonic()
    (item,) = list_source(str(tmp_path)).items
    with pytest.raises(InputRefused):
        read_item(item)
    assert time.monotonic() - started < 5
