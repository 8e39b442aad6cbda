"""Encode: a dataset of densities becomes a dataset of latents, on Ray Data."""

import functools
import hashlib
import time
from collections import Counter
from typing import Any

import numpy as np
import pandas as pd
import torch

from rhoray.core.errors import DatasetError
from rhoray.core.stages import Stages
from rhoray.core.storage import find, join, name_of, normalise, read_bytes
from rhoray.models.encoder_files import ABOUT, WEIGHTS, TrainedAutoencoder, load_autoencoder
from rhoray.models.frames import encode_and_judge
from rhoray.pipeline.sharded import Engine, ShardContent, ShardTask, gather, plan_shards, run_sharded
from rhoray.registry.bundle import resolve_encoder
from rhoray.store.manifest import Manifest, read_manifest, write_manifest
from rhoray.store.schema import LATENT_SCHEMA
from rhoray.store.shards import read_shard, row_density

MODEL_FILES = (WEIGHTS, ABOUT)


def read_autoencoder_files(uri: str) -> dict[str, bytes]:
    """Return the files of a trained autoencoder (a run's or a bundle's folder).

    Raises:
        DatasetError: they are not there.
    """
    try:
        return {name: read_bytes(join(uri, name)) for name in MODEL_FILES}
    except FileNotFoundError as error:
        raise DatasetError(f"{uri}: no {WEIGHTS}; expected the --out of train_ae") from error


@functools.lru_cache(maxsize=1)
def _load(uri: str, digest: str) -> TrainedAutoencoder:
    """Load once per worker process; the digest tells a retrained model at the same place apart."""
    torch.set_num_threads(1)
    trained = load_autoencoder(read_autoencoder_files(uri))
    if trained.digest != digest:
        raise DatasetError(f"{uri} changed while it was in use")
    return trained


def encode(data: str, model: str, out: str) -> dict[str, Any]:
    """Encode every density of a dataset on the connected Ray.

    Returns:
        encoded, seconds, out; density_error (median and worst over the crystals), and the same over the split
        `test`, which no training run sees.
    """
    started = time.monotonic()
    out, model = normalise(out), resolve_encoder(model)
    manifest = read_manifest(data)
    digest = hashlib.sha256(read_autoencoder_files(model)[WEIGHTS]).hexdigest()
    settings = {"model": model, "digest": digest}
    items = [
        {"material_id": r.material_id, "shard": join(manifest.uri, r.shard), "hash": r.content_hash}
        for r in manifest.written.itertuples()
    ]
    if not items:
        raise DatasetError(f"{data} holds no densities")
    tasks = plan_shards(items, settings)
    process = _encode_shard
    rows, stages = gather(run_sharded(tasks, process, out, LATENT_SCHEMA, Engine("encode", "densities")))
    table = _committed(manifest, pd.DataFrame(rows))
    write_manifest(Manifest(out, table, {"source": manifest.uri, **settings}))
    return {
        "encoded": Counter(table.status)["written"],
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
        "bytes": sum(stat.size for stat in find(out)),
        "stages": stages.summary(),
        "density_error": _spread(table),
        "density_error_test": _spread(table[table.split == "test"]),
    }


def _spread(table: pd.DataFrame) -> dict[str, float | str]:
    """Return median and worst reconstruction error, and whose the worst is."""
    errors = table.density_error
    if not len(errors):
        return {}
    return {
        "median": float(errors.median()),
        "worst": float(errors.max()),
        "worst_material": str(table.material_id[errors.idxmax()]),
        "crystals": len(errors),
    }


def _encode_shard(task: ShardTask) -> ShardContent:
    trained = _load(task.settings["model"], task.settings["digest"])
    wanted = {item["material_id"] for item in task.items}
    stages = Stages()
    rows = [
        row
        for uri in dict.fromkeys(item["shard"] for item in task.items)
        for row in read_shard(uri)
        if row["material_id"] in wanted
    ]
    densities = [row_density(row) for row in rows]
    with stages.measure("encode") as encoding:
        encoding.items += len(densities) - 1
        latents, errors = encode_and_judge(trained, densities)
    encoded = [
        {**row, "latent": latent.astype("<f4").tobytes(), "density_error": error}
        for row, latent, error in zip(rows, latents, errors, strict=True)
    ]
    about = [
        {
            "material_id": row["material_id"],
            "status": "written",
            "density_error": row["density_error"],
        }
        for row in encoded
    ]
    return ShardContent(encoded, about, stages)


def _committed(manifest: Manifest, encoded: pd.DataFrame) -> pd.DataFrame:
    """Return the densities' manifest with the latents' shards and errors."""
    found = encoded.set_index("material_id")
    table = manifest.written.copy()
    missing = table.material_id[~table.material_id.isin(found.index)]
    if len(missing):
        raise DatasetError(f"{len(missing)} densities have no latent, first {missing.iloc[0]}")
    table["shard"] = found.shard.reindex(table.material_id).map(name_of).to_numpy()
    table["density_error"] = found.density_error.reindex(table.material_id).to_numpy(float)
    table["bytes_out"] = int(np.prod((16, 16, 16, 16)) * 4)
    return table
