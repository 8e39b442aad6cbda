"""Reading back on Ray: either store, grouped splits, mixed order, and the frames that a consumer makes."""

import numpy as np
import pandas as pd
import pytest

from rhoray.core.errors import DatasetError
from rhoray.density.frames import to_frame
from rhoray.pipeline import batches
from rhoray.pipeline.batches import density_dataset, frames_of, shuffled_rows
from rhoray.pipeline.ingest import IngestConfig, ingest
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


def order(dataset, buffer: int) -> list[str]:
    tables = dataset.iter_batches(
        batch_size=8, batch_format="pyarrow", local_shuffle_buffer_size=buffer, local_shuffle_seed=0
    )
    return [i for table in tables for i in table["material_id"].to_pylist()]


@pytest.mark.parametrize("cached", [True, False], ids=["cached", "streamed"])
def test_each_epoch_is_another_order_of_the_same_crystals(pipeline, cached, monkeypatch):
    if not cached:
        monkeypatch.setattr(batches, "CACHED_BYTES", 0)
    manifest = read_manifest(pipeline.densities)
    dataset = density_dataset(manifest, "train", seed=3)
    plain = manifest.written[manifest.written.split == "train"].material_id.tolist()
    first, second = order(dataset, 64), order(dataset, 64)
    assert sorted(first) == sorted(second) == sorted(plain)
    assert first != second
    place = pd.Series(range(len(plain)), plain)
    for found in (first, second):
        assert abs(np.corrcoef(place[found], range(len(plain)))[0, 1]) < 0.5


def test_a_buffer_of_frames_is_no_larger_in_memory_than_one_of_compact_rows(stores):
    assert shuffled_rows(stores["compact"]) == 2048
    assert shuffled_rows(stores["grid"]) == 64


def test_an_empty_split_says_so(stores):
    with pytest.raises(DatasetError, match="no densities in split 'nowhere'"):
        density_dataset(stores["compact"], "nowhere")
