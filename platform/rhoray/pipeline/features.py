"""From a dataset of latents to a table of features, one row per crystal, on Ray Data."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import ray.data
from jaxtyping import Float

from rhoray.core.errors import DatasetError
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.features.volume import VOLUME
from rhoray.pipeline.cluster import for_small_results
from rhoray.pipeline.progress import progress_bar
from rhoray.store.manifest import Manifest, read_manifest
from rhoray.store.shards import read_shard, row_density


@dataclass(frozen=True, slots=True)
class FeatureTable:
    """Features and what is known of each crystal.

    Attributes:
        labels: feature columns.
        values: (n, features).
        materials: manifest rows with their label columns, in the same order.
        manifest: of the latents.
    """

    labels: list[str]
    values: Float[np.ndarray, "n f"]
    materials: pd.DataFrame
    manifest: Manifest


def feature_table(latents: str, blocks: Sequence[str]) -> FeatureTable:
    """Compute the blocks for every crystal of a dataset of latents.

    Raises:
        DatasetError: the dataset holds no latents.
    """
    manifest = read_manifest(latents)
    if "digest" not in manifest.card:
        raise DatasetError(f"{latents} holds no latents, expected the --out of encode")
    labels = feature_labels(get_blocks(blocks))
    shards = [{"uri": uri} for uri in manifest.shards]
    dataset = ray.data.from_items(shards, override_num_blocks=len(shards)).map(
        _shard_features, fn_kwargs={"blocks": list(blocks)}
    )
    found: dict[str, np.ndarray] = {}
    with progress_bar(len(manifest.written), "features", "crystals") as bar:
        # A volume takes 64 kB a crystal, for which Ray's pacing is right.
        paced = dataset if VOLUME in blocks else for_small_results(dataset)
        for row in paced.iter_rows():
            ids = json.loads(row["ids"])
            values = np.frombuffer(row["values"], "<f8").reshape(len(ids), len(labels))
            found.update(zip(ids, values, strict=True))
            bar.update(len(ids))
    materials = manifest.written
    values = np.array([found[i] for i in materials.material_id])
    return FeatureTable(labels, values, materials, manifest)


def _shard_features(row: dict[str, Any], blocks: list[str]) -> dict[str, Any]:
    rows = list(read_shard(row["uri"]))
    values = feature_matrix(get_blocks(blocks), [row_density(r) for r in rows], [row_latent(r) for r in rows])
    ids = [r["material_id"] for r in rows]
    return {"ids": json.dumps(ids), "values": values.astype("<f8").tobytes()}


def row_latent(row: dict[str, Any]) -> Float[np.ndarray, "16 16 16 16"]:
    """Return the latent of a row of a latents shard."""
    return np.frombuffer(row["latent"], "<f4").reshape(16, 16, 16, 16)
