"""Reading back on Ray: either store, grouped splits, planned order, and the frames that a consumer makes."""

import numpy as np
import pyarrow as pa
import pytest

from rhoray.core.errors import DatasetError
from rhoray.density.frames import to_frame
from rhoray.pipeline.batches import density_dataset, frames_of, plan_dataset
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.pipeline.order import Plan, crystals_of
from rhoray.store.manifest import Manifest, read_manifest

pytestmark = pytest.mark.cluster


@pytest.fixture(scope="module")
def stores(cluster, bucket):
    """The same ten crystals in both stores."""
    uris = {kind: f"{bucket}/densities/batches-{kind}" for kind in ("compact", "grid")}
    for kind, uri in uris.items():
        ingest(IngestConfig(source="sample:", out=uri, limit=10, store=kind))
    return {kind: read_manifest(uri) for kind, uri in uris.items()}


def frames(manifest: Manifest, split: str) -> dict[str, np.ndarray]:
    tables = density_dataset(manifest, split).iter_batches(batch_size=2, batch_format="pyarrow")
    found = frames_of(tables, "cell")
    return {i: frame[0] for ids, batch in found for i, frame in zip(ids, batch.numpy(), strict=True)}


def test_both_stores_give_the_frames_of_the_density(stores, sample_rows):
    from rhoray.store.shards import row_density

    compact, grid = (frames(stores[kind], "train") for kind in ("compact", "grid"))
    assert compact.keys() == grid.keys()
    for material_id, frame in compact.items():
        expected = to_frame(row_density(sample_rows[material_id]), "cell")
        for found in (frame, grid[material_id]):
            assert np.abs(found - expected).sum() / expected.sum() < 1e-3


@pytest.mark.parametrize("group", ["formula", "prototype", "chemical_system"])
def test_no_group_stands_on_two_sides(pipeline, group):
    manifest = read_manifest(pipeline.densities)
    rows = manifest.written.set_index("material_id")
    column = {"formula": "formula", "prototype": "prototype", "chemical_system": "formula"}[group]
    sides: dict[str, set] = {}
    total = 0
    for split in ("train", "val", "test"):
        ids = [r["material_id"] for r in density_dataset(manifest, split, group=group).iter_rows()]
        total += len(ids)
        for label in rows[column][ids]:
            sides.setdefault(label, set()).add(split)
    assert total == len(rows)
    assert all(len(found) == 1 for found in sides.values())


def test_a_plan_is_read_in_its_order_by_ray_as_without_it(pipeline):
    manifest = read_manifest(pipeline.densities)
    train, val = (crystals_of(manifest, split) for split in ("train", "val"))
    plan = Plan(train=train, val=val, seed=3, epochs=3, batch=8, window=20, rank=1, world=2, epoch=1, step=5)
    expected = pa.concat_tables([plan.read(chunk) for chunk in plan.chunks()])
    found = pa.concat_tables(plan_dataset(plan).iter_batches(batch_size=None, batch_format="pyarrow"))
    for column in ("place", "material_id", "values"):
        assert found[column].to_pylist() == expected[column].to_pylist()


def test_an_empty_split_says_so(stores):
    with pytest.raises(DatasetError, match="no densities in split 'nowhere'"):
        density_dataset(stores["compact"], "nowhere")
