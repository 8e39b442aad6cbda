"""What a source offers, and under which names."""

import os

import pytest

from rhoray.core.errors import RhoRayError, TooLarge, Unavailable, UnknownFormat
from rhoray.core.storage import write_bytes
from rhoray.sources.items import Item, list_source, material_ids, read_item, refuse_repeated
from tests.unit.builders import gzipped, salt, salt_chgcar


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mp-149_CHGCAR", "mp-149"),
        ("mp-149_CHGCAR.gz", "mp-149"),
        ("mp-149.CHGCAR.bz2", "mp-149"),
        ("mp-149.cube", "mp-149"),
        ("mp-149", "mp-149"),
        ("my crystal.vasp.xz", "my crystal"),
        ("Fe2O3_CHG.gz", "Fe2O3_CHG"),
        ("CHGCAR_Li.gz", "CHGCAR_Li"),
        ("CHGCAR", "CHGCAR"),
    ],
)
def test_the_stem_up_to_the_first_dot_or_chgcar(name, expected):
    assert material_ids([f"s3://b/x/{name}"]) == [expected]


def test_folders_name_files_of_one_name():
    uris = ["s3://b/mp-1/CHGCAR.gz", "s3://b/mp-2.5/CHGCAR", "s3://b/mp-3/mp-3.cube"]
    assert material_ids(uris) == ["mp-1", "mp-2.5", "mp-3"]


def test_only_names_that_say_nothing_give_way_to_folders():
    assert material_ids(["s3://b/x/si.cube", "s3://b/y/si.cube"]) == ["si", "si"]


def test_list_a_folder(tmp_path):
    for name in ("b_CHGCAR.gz", "a.cube", "deep/c.vasp", ".hidden"):
        write_bytes(str(tmp_path / name), b"x")
    source = list_source(str(tmp_path))
    assert [item.material_id for item in source.items] == ["a", "b", "c"]
    assert source.manifest is None
    assert {item.size for item in source.items} == {1}
    assert [item.material_id for item in list_source(str(tmp_path), limit=2).items] == ["a", "b"]


def test_list_one_file(tmp_path):
    write_bytes(str(tmp_path / "a_CHGCAR"), salt_chgcar())
    (item,) = list_source(str(tmp_path / "a_CHGCAR")).items
    assert item.material_id == "a"
    assert read_item(item).n_electrons == pytest.approx(32, rel=1e-9)


def test_list_the_sample():
    source = list_source("sample:", limit=3)
    assert [item.material_id for item in source.items] == source.manifest.written.material_id[:3].tolist()
    density = read_item(source.items[1])
    assert density.n_electrons == pytest.approx(source.manifest.written.num_electrons[1], rel=1e-12)


@pytest.mark.parametrize("uri", ["nothing-here", "file:///nothing/here"])
def test_nothing_there(uri):
    with pytest.raises(RhoRayError, match="nothing there"):
        list_source(uri)


def test_an_empty_folder_is_nothing(tmp_path):
    with pytest.raises(RhoRayError, match="nothing there"):
        list_source(str(tmp_path))


def test_a_file_that_vanished(tmp_path):
    with pytest.raises(Unavailable, match="can't be read: it is not there; put it back"):
        read_item(Item("a", f"file://{tmp_path}/a"))


def test_a_folder_in_the_place_of_a_file(tmp_path):
    with pytest.raises(Unavailable, match=r"can't be read: .*check the storage"):
        read_item(Item("a", f"file://{tmp_path}"))


def test_a_row_that_no_shard_has():
    item = list_source("sample:", limit=1).items[0]
    with pytest.raises(Unavailable, match=r"has no row 'mp-0'.*ingest the dataset again"):
        read_item(Item("mp-0", f"{item.uri.partition('#')[0]}#mp-0"))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "a").touch(mode=0o000)
    with pytest.raises(Unavailable, match=r"no permission to read .*; give the job's user"):
        read_item(Item("a", f"file://{tmp_path}/a"))


def test_read_item_decompresses_and_refuses(tmp_path):
    write_bytes(str(tmp_path / "good.gz"), gzipped(salt_chgcar()))
    write_bytes(str(tmp_path / "photo_CHGCAR"), b"\xff\xd8\xff")
    good, bad = list_source(str(tmp_path)).items
    assert read_item(good).species == salt().species
    with pytest.raises(UnknownFormat, match="JPEG"):
        read_item(bad)


def test_the_first_of_a_name_wins():
    items = tuple(Item(i, uri) for i, uri in [("a", "x/1"), ("b", "x/2"), ("a", "x/3"), ("a", "x/4")])
    refused = refuse_repeated(items)
    assert list(refused) == ["x/3", "x/4"]
    assert "already that of x/1" in str(refused["x/4"])


def test_nothing_is_refused_without_reason():
    assert refuse_repeated((Item("a", "1"), Item("b", "2"))) == {}


@pytest.mark.parametrize(
    ("names", "taken"),
    [
        (("mp-1.cif", "mp-1_CHGCAR.gz"), "mp-1_CHGCAR.gz"),
        (("x/CHG", "x/CHGCAR", "y/CHG", "y/CHGCAR"), "x/CHGCAR"),
        (("x/CHG", "x/POSCAR", "y/CHG", "y/POSCAR"), "x/CHG"),
    ],
)
def test_of_several_files_for_one_material_the_best_is_taken(tmp_path, names, taken):
    for name in names:
        write_bytes(str(tmp_path / name), b"1")
    items = list_source(str(tmp_path)).items
    refused = refuse_repeated(items)
    (material,) = {i.material_id for i in items if i.uri.endswith(taken)}
    kept = [i.uri for i in items if i.material_id == material and i.uri not in refused]
    assert kept == [f"file://{tmp_path}/{taken}"]


def test_a_file_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    with pytest.raises(TooLarge, match="give the CHGCAR alone"):
        read_item(Item("WAVECAR", f"file://{tmp_path}/WAVECAR", size=2**40))


def test_a_core_density_is_no_valence_density(tmp_path):
    write_bytes(str(tmp_path / "AECCAR0"), salt_chgcar())
    with pytest.raises(UnknownFormat, match="AECCAR0 is a core"):
        read_item(list_source(str(tmp_path)).items[0])
