"""What a training run leaves: the best network, its card, pictures, and the linear maps it had to beat. No Ray."""

import itertools
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import numpy as np
import torch

import rhoray
from rhoray.core.storage import join, write_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.evaluate.plots import curves_figure, reconstruction_figure
from rhoray.models.autoencoder import (
    Autoencoder,
    PatchAutoencoder,
    build_autoencoder,
    count_parameters,
    patch_components,
    patch_moment,
)
from rhoray.models.baselines import baseline_errors
from rhoray.models.encoder_files import autoencoder_files, load_autoencoder
from rhoray.models.frames import encode_densities, frames_tensor
from rhoray.store.manifest import Manifest, read_manifest
from rhoray.store.shards import read_shard, row_density
from rhoray.train.checkpoints import Checkpoints
from rhoray.train.journal import SCORE, TAIL
from rhoray.train.recipes import Recipe

# Linear maps are judged on the first of the validation crystals: enough to see who wins, in seconds.
MOST_JUDGED = 32
# A median below it is what float32 rounds off, and says nothing.
ROUNDING = 1e-6


def split_densities(manifest: Manifest, split: str, count: int) -> Iterator[ChargeDensity]:
    """Yield the first crystals of a split, in the manifest's order of shards."""
    some = manifest.written[manifest.written.split == split].head(count)
    for shard, rows in some.groupby("shard", sort=False):
        wanted = set(rows.material_id)
        found = (row for row in read_shard(join(manifest.uri, str(shard))) if row["material_id"] in wanted)
        yield from (row_density(row) for row in found)


def initialise(model: Autoencoder, recipe: Recipe, data: str) -> None:
    """Give a patch network its linear start; every worker computes the same from the same crystals."""
    if not isinstance(model, PatchAutoencoder):
        return
    crystals = split_densities(read_manifest(data), "train", recipe.basis_crystals)
    moments = (patch_moment(frames_tensor([crystal], recipe.frame)) for crystal in crystals)
    *_, total = itertools.accumulate(moments)
    model.set_basis(patch_components(total).to(model.device))


def linear_baselines(manifest: Manifest, recipe: Recipe) -> dict[str, dict[str, float]]:
    """Return what linear maps to as many numbers misplace of the first validation crystals, by their name."""
    sides = (
        (frames_tensor([crystal], recipe.frame) for crystal in split_densities(manifest, split, MOST_JUDGED))
        for split in ("train", "val")
    )
    with torch.inference_mode():
        return baseline_errors(*sides, periodic=recipe.frame == "cell")


def best_epoch(history: list[dict[str, float]]) -> int:
    """Return the number of the first epoch with the smallest validation error.

    That is the median; where most crystals come back to rounding, the 95th percentile.
    """
    errors = np.nan_to_num([[max(epoch[SCORE], ROUNDING), epoch[TAIL]] for epoch in history], nan=np.inf)
    return 1 + min(range(len(history)), key=lambda index: tuple(errors[index]))


def write_outcome(out: str, recipe: Recipe, checkpoints: Checkpoints, manifest: Manifest) -> dict[str, Any]:
    """Write the best epoch's network, and pictures of how it came about and of what it does.

    Args:
        out: URI of the run.
        recipe: of the run.
        checkpoints: of the finished run.
        manifest: of the densities.

    Returns:
        recipe, parameters, epochs, best_epoch, volumes_per_second, the val_ metrics of the best epoch, baselines.
    """
    last, best = checkpoints.last(), checkpoints.best()
    assert last is not None
    history = last["history"]
    model = build_autoencoder(recipe.network)
    model.load_state_dict(best["model"])
    summary = {
        "recipe": recipe.name,
        "parameters": count_parameters(model),
        "epochs": len(history),
        "best_epoch": best["epoch"],
        "volumes_per_second": round(float(np.median([epoch["volumes_per_second"] for epoch in history])), 2),
        **{name: value for name, value in history[best["epoch"] - 1].items() if name.startswith("val_")},
        "baselines": linear_baselines(manifest, recipe),
    }
    seen = manifest.written[manifest.written.split.isin(["train", "val"])]
    facts = {
        "recipe": asdict(recipe),
        "metrics": summary,
        "data": manifest.uri,
        "training_formulas": sorted(set(seen.formula)),
        "code": rhoray.__version__,
    }
    files = autoencoder_files(model, recipe.network, recipe.frame, facts)
    write_bytes(join(out, "curves.png"), curves_figure(history))
    write_bytes(join(out, "reconstruction.png"), _picture(files, recipe, manifest))
    for name, content in files.items():
        write_bytes(join(out, name), content)
    return summary


def _picture(files: dict[str, bytes], recipe: Recipe, manifest: Manifest) -> bytes:
    trained = load_autoencoder(files)
    held = manifest.written[manifest.written.split == "val"].iloc[0]
    density = next(split_densities(manifest, "val", 1))
    with torch.inference_mode():
        latent = torch.from_numpy(encode_densities(trained, [density]))
        found = trained.model.decode(latent)[0, 0].numpy()
    expected = frames_tensor([density], recipe.frame)[0, 0].numpy()
    return reconstruction_figure(expected, found, f"{held.formula} ({held.material_id})")
