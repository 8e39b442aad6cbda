"""Which frame: reconstruction, linear baselines, what the latent is worth downstream, and invariance.

    python benchmarks/bench_frame.py --data DATASET --labels TABLE

Networks are the linear starts (`zones` in `cell`; `patch` with its principal components in all three): what a frame
loses is the frame's, not a training's. Downstream is one fixed LightGBM on pooled latents, folds by formula.
"""

import argparse
import time
from typing import Any

import lightgbm
import numpy as np
import pandas as pd
import torch
from _results import write_result
from sklearn.model_selection import GroupKFold

from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import reduced_formula
from rhoray.features.latent import pooled
from rhoray.models.autoencoder import (
    Autoencoder,
    AutoencoderConfig,
    PatchAutoencoder,
    build_autoencoder,
    patch_components,
    patch_moment,
)
from rhoray.models.baselines import baseline_reconstructions, fit_block_pca
from rhoray.models.frames import frames_tensor
from rhoray.models.losses import density_error, electron_error
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

BASIS = 16
FOLDS = 5
VIEWS = (("cell", "zones"), ("cell", "patch"), ("padded", "patch"), ("box", "patch"))
TREES: dict[str, Any] = {
    "n_estimators": 300, "learning_rate": 0.05, "num_leaves": 15, "colsample_bytree": 0.3, "min_child_samples": 10,
    "random_state": 0, "n_jobs": 1, "verbose": -1,
}  # fmt: skip


def crystals_of(uri: str) -> tuple[list[str], list[ChargeDensity], list[str]]:
    """Return ids, densities and splits of the DFT densities."""
    manifest = read_manifest(uri)
    split = dict(zip(manifest.written.material_id, manifest.written.split, strict=True))
    rows = [r for shard in manifest.shards for r in read_shard(shard) if r["density_kind"] == "dft"]
    ids = [row["material_id"] for row in rows]
    return [i.removesuffix("-dft") for i in ids], [row_density(row) for row in rows], [split[i] for i in ids]


def network(architecture: str, frame: str, train: list[ChargeDensity]) -> Autoencoder:
    """Return the linear start of a network."""
    model = build_autoencoder(AutoencoderConfig(architecture=architecture, periodic=frame == "cell")).eval()
    if isinstance(model, PatchAutoencoder):
        model.set_basis(patch_components(sum(patch_moment(frames_tensor([c], frame)) for c in train[:BASIS])))
    return model


def supercell(density: ChargeDensity) -> ChargeDensity:
    """Return the crystal in a cell twice as long along a."""
    sites = np.concatenate([density.frac_coords, density.frac_coords + np.eye(3)[0]]) / np.array([2, 1, 1])
    lattice = density.lattice * np.array([2, 1, 1])[:, None]
    return ChargeDensity(np.tile(density.values, (2, 1, 1)), lattice, density.species * 2, sites)


def conventional(density: ChargeDensity) -> ChargeDensity:
    """Return the crystal with c replaced by a + c: another choice of the same cell's vectors."""
    n = density.values.shape[0]
    index = np.arange(n)
    values = density.values[(index[:, None] + index) % n, :, index[None, :]].transpose(0, 2, 1)
    lattice = density.lattice.copy()
    lattice[2] += lattice[0]
    sites = density.frac_coords.copy()
    sites[:, 0] -= sites[:, 2]
    return ChargeDensity(np.ascontiguousarray(values), lattice, density.species, sites % 1)


def shifted(density: ChargeDensity) -> ChargeDensity:
    """Return the crystal with its origin moved by a third of a and a fifth of b."""
    steps = (density.values.shape[0] // 3, density.values.shape[1] // 5, 0)
    sites = density.frac_coords + np.array(steps) / density.values.shape
    return ChargeDensity(np.roll(density.values, steps, (0, 1, 2)), density.lattice, density.species, sites)


@torch.inference_mode()
def latent_numbers(model: Autoencoder, frame: str, density: ChargeDensity) -> np.ndarray:
    """Return the pooled latent."""
    return pooled(density, model.encode(frames_tensor([density], frame))[0].numpy())


def downstream(features: np.ndarray, target: np.ndarray, groups: np.ndarray) -> tuple[float, float]:
    """Return R2 and MAE out of fold."""
    found = np.zeros(len(target))
    for train, test in GroupKFold(FOLDS).split(features, groups=groups):
        trees = lightgbm.LGBMRegressor(**TREES).fit(features[train], np.log(target[train]))
        found[test] = np.exp(trees.predict(features[test]))
    residual = target - found
    return 1 - residual.var() / target.var(), float(np.abs(residual).mean())


@torch.inference_mode()
def reconstruction(model: Autoencoder, frame: str, val: list[ChargeDensity], basis: torch.Tensor) -> list[float]:
    """Return median, p95 and electron error of the network and the medians of the linear maps, in percent."""
    errors, electrons, linear = [], [], []
    for crystal in val:
        frames = frames_tensor([crystal], frame)
        found = model(frames)
        errors.append(density_error(found, frames).item())
        electrons.append(electron_error(found, frames).item())
        backs = baseline_reconstructions(frames, basis, periodic=frame == "cell")
        linear.append([density_error(back, frames).item() for back in backs.values()])
    return [100 * float(x) for x in (np.median(errors), np.quantile(errors, 0.95), np.median(electrons),
                                     *np.median(linear, axis=0))]  # fmt: skip


def main() -> None:
    """Write results/frame_….md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", required=True)
    parser.add_argument("--labels", required=True)
    parser.add_argument("--crystals", type=int, default=300)
    parser.add_argument("--val", type=int, default=24)
    args = parser.parse_args()
    torch.set_num_threads(1)
    ids, densities, splits = crystals_of(args.data)
    train = [d for d, s in zip(densities, splits, strict=True) if s == "train"]
    val = [d for d, s in zip(densities, splits, strict=True) if s == "val"][: args.val]
    ids, densities = ids[: args.crystals], densities[: args.crystals]
    labels = pd.read_parquet(args.labels).set_index("material_id").loc[ids]
    groups = np.array([reduced_formula(d) for d in densities])
    lines = []
    for frame, architecture in VIEWS:
        started = time.perf_counter()
        model = network(architecture, frame, train)
        basis = fit_block_pca(frames_tensor([c], frame) for c in train[:BASIS])
        numbers = reconstruction(model, frame, val, basis)
        features = np.array([latent_numbers(model, frame, d) for d in densities])
        scores = [
            x for t in ("bulk_modulus", "shear_modulus") for x in downstream(features, labels[t].to_numpy(), groups)
        ]
        spread = features.std(axis=0) + 1e-12
        moved = []
        for change in (shifted, supercell, conventional):
            away = [
                np.median(np.abs(latent_numbers(model, frame, change(d)) - latent_numbers(model, frame, d)) / spread)
                for d in [d for d in val if d.values.shape[0] == d.values.shape[2]][:10]
            ]
            moved.append(float(np.median(away)))
        cells = [*(f"{n:.4g}" for n in numbers), *(f"{s:.3g}" for s in scores), *(f"{m:.2g}" for m in moved)]
        lines.append(f"| {frame}, {architecture} | {' | '.join(cells)} |")
        print(lines[-1], f"{time.perf_counter() - started:.0f} s", flush=True)
    names = (
        "frame, network|median %|p95 %|electrons %|Fourier %|block PCA %|K R2|K MAE|G R2|G MAE|origin|supercell|a + c"
    )
    head = f"| {names.replace('|', ' | ')} |\n|" + " --- |" * len(names.split("|"))
    body = (
        f"{args.val} validation crystals for reconstruction (integral |d rho| / integral rho of the frame itself; the "
        "two linear maps by their medians: Fourier, of cosines in padded and box, and block PCA), "
        f"{len(ids)} DFT crystals for K and G (GPa, pooled latents alone, fixed LightGBM, {FOLDS} folds by formula). "
        "The last three columns: how far pooled latents move when the crystal is written otherwise, in standard "
        f"deviations between crystals (median over numbers, and over 10 crystals whose a and c have as many "
        f"points).\n\n{head}\n" + "\n".join(lines) + "\n"
    )
    write_result("frame", "Which frame", body, ("torch", "lightgbm", "numpy"))


if __name__ == "__main__":
    main()
