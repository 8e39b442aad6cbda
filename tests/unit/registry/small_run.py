"""A small but real encoder and small but real tuning runs, made in a second: 30 crystals, 20 trees, no Ray."""

import functools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import torch

from rhoray.core.storage import join, write_bytes
from rhoray.core.targets import get_target
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.crystal import reduced_formula
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import grouped_folds, out_of_fold
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.models.domain import fit_domain
from rhoray.models.encoder_files import autoencoder_files, load_autoencoder
from rhoray.models.regressor import About, Regressor, from_model_scale, to_model_scale
from rhoray.registry.run_files import write_run
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import row_density
from rhoray.tune.fitting import fit_trees
from tests.unit.builders import sample_rows

COUNT = 30
OWN = "electrons_per_atom"
UNITS = {OWN: "e"}
PARAMS = {"objective": "l2", "rounds": 20, "num_leaves": 7, "min_child_samples": 3, "num_threads": 1, "verbosity": -1}


@functools.cache
def materials() -> pd.DataFrame:
    """Return the manifest's rows of the 30 smallest crystals of the sample's first shard."""
    table = read_manifest(sample_uri()).written.set_index("material_id", drop=False)
    smallest = sorted(sample_rows(), key=lambda row: (np.prod(row["grid"]), row["material_id"]))[:COUNT]
    table = table.loc[[row["material_id"] for row in smallest]].reset_index(drop=True)
    return table.assign(**{OWN: table.num_electrons / table.num_atoms})


@functools.cache
def crystals() -> tuple[ChargeDensity, ...]:
    """Return the densities of `materials`."""
    rows = {row["material_id"]: row for row in sample_rows()}
    return tuple(row_density(rows[i]) for i in materials().material_id)


@functools.cache
def features(blocks: tuple[str, ...]) -> np.ndarray:
    """Return features of `crystals`; latents are drawn at random, for what they say does not matter here."""
    latents = list(np.random.default_rng(0).normal(size=(COUNT, 16, 16, 16, 16)).astype(np.float32))
    return feature_matrix(get_blocks(blocks), crystals(), latents)


def write_encoder(uri: str, seed: int = 0) -> str:
    """Write an untrained encoder and return the digest of its weights."""
    torch.manual_seed(seed)
    config = AutoencoderConfig(width=8)
    facts = {"recipe": "untrained", "metrics": {}, "data": {}, "training_formulas": ["Xe"]}
    files = autoencoder_files(build_autoencoder(config), config, "cell", facts)
    for name, content in files.items():
        write_bytes(join(uri, name), content)
    return load_autoencoder(files).digest


def write_small_run(
    uri: str,
    targets: Sequence[str],
    blocks: tuple[str, ...] = ("magpie", "density"),
    *,
    encoder: str | None = None,
    seed: int = 0,
) -> None:
    """Fit and write a run, as tune_regressor does."""
    table, values, labels = materials(), features(blocks), feature_labels(get_blocks(blocks))
    fitted = {t: _fit(t, blocks, encoder, seed) for t in targets}
    elements = [s for density in crystals() for s in density.species]
    write_run(uri, fitted, fit_domain(elements, labels, values), sorted(set(table.formula)))


def _fit(target: str, blocks: tuple[str, ...], encoder: str | None, seed: int) -> tuple[Regressor, pd.DataFrame]:
    about = get_target(target, UNITS.get(target, ""))
    x, y = features(blocks), materials()[target].to_numpy(float)

    def trees(rows):
        return fit_trees("lightgbm", x[rows], to_model_scale(y[rows], log=about.positive), PARAMS, seed)

    def fit_predict(train, test):
        return from_model_scale(trees(train).predict(x[test]), log=about.positive)

    groups = [reduced_formula(density) for density in crystals()]
    found = out_of_fold(grouped_folds(groups, count=3, seed=seed), fit_predict, COUNT)
    labels = feature_labels(get_blocks(blocks))
    described = About(
        target, about.unit, "lightgbm", about.positive, list(blocks), labels, PARAMS,
        regression_metrics(y, found), encoder, COUNT, seed,
    )  # fmt: skip
    columns = ["material_id", "formula", "mass_density", "volume_per_atom"]
    return Regressor(described, trees(np.arange(COUNT))), materials()[columns].assign(expected=y, found=found)
