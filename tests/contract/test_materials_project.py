"""Materials Project's bucket: anonymous reads of the same keys and bytes on a local S3 server."""

import pytest

from rhoray.core.errors import Unavailable
from rhoray.sources.items import list_source, read_item
from tests.unit.builders import skewed

BUCKET = "materialsproject-parsed"


def test_by_task_id(open_data):
    source = list_source("mp:mp-149,mp-9999999")
    assert [item.material_id for item in source.items] == ["mp-149", "mp-9999999"]
    assert source.items[1].uri == f"s3://{BUCKET}/chgcars/mp-vwyxj.json.gz"
    densities = [read_item(item) for item in source.items]
    assert densities[0].n_electrons == pytest.approx(32)
    assert densities[1].species == skewed().species


def test_everything(open_data):
    assert [item.material_id for item in list_source("mp:").items] == ["mp-149", "mp-vwyxj"]


def test_ids_from_a_file(open_data, tmp_path):
    (tmp_path / "ids.txt").write_text("mp-149\n")
    assert len(list_source(f"mp:{tmp_path}/ids.txt").items) == 1


def test_a_density_that_they_do_not_have(open_data):
    item = list_source("mp:mp-149,mp-77").items[1]
    with pytest.raises(Unavailable, match=r"mp-77.json.gz .*is not there"):
        read_item(item)
