"""A small bundle that is real in every part: an untrained encoder, and trees fitted to thirty sample crystals."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from rhoray.core.storage import write_bytes
from rhoray.core.targets import get_target
from rhoray.density.crystal import mass_density, reduced_formula, volume_per_atom
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.protocol import grouped_folds, out_of_fold
from rhoray.features.block import feature_labels, feature_matrix
from rhoray.features.registry import get_blocks
from rhoray.inference.predictor import Predictor
from rhoray.models.autoencoder import AutoencoderConfig, build_autoencoder
from rhoray.models.domain import fit_domain
from rhoray.models.encoder_files import autoencoder_files
from rhoray.models.regressor import About, Regressor
from rhoray.registry.bundle import publish
from rhoray.registry.run_files import write_run
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.tune.fitting import fit_trees
from tests.unit.builders import sample_densities, sample_rows

COUNT = 30
BLOCKS = ["magpie", "density"]
PARAMS = {"objective": "l2", "verbosity": -1, "num_threads": 1, "deterministic": True, "min_child_samples": 3}


@dataclass(frozen=True)
class Parts:
    """URIs of what publish takes."""

    encoder: str
    trees: str


def write_encoder(uri: str, seed: int) -> str:
    """Write an untrained encoder of width 8."""
    config = AutoencoderConfig(width=8, depth=1)
    torch.manual_seed(seed)
    files = autoencoder_files(build_autoencoder(config), config, "cell", {"training_formulas": ["Xe"]})
    for name, content in files.items():
        write_bytes(f"{uri}/{name}", content)
    return uri


def fit_run(uri: str, targets: list[str], *, encoder: str | None = None, seed: int = 0) -> str:
    """Write a tuning run of thirty sample crystals."""
    densities = sample_densities(COUNT)
    rows = read_manifest(sample_uri()).written.set_index("material_id")
    ids = [row["material_id"] for row in sample_rows()[:COUNT]]
    blocks = get_blocks(BLOCKS)
    features = feature_matrix(blocks, densities, [np.zeros((16,) * 4)] * COUNT)
    facts = pd.DataFrame(
        {
            "material_id": ids,
            "formula": [reduced_formula(d) for d in densities],
            "mass_density": [mass_density(d) for d in densities],
            "volume_per_atom": [volume_per_atom(d) for d in densities],
        }
    )
    folds = grouped_folds(facts.formula.tolist(), count=3, seed=0)
    fitted = {}
    for name in targets:
        labels = np.log(rows.loc[ids, name].to_numpy(float))

        def fit(train, y=labels):
            return fit_trees("lightgbm", features[train], y[train], {**PARAMS, "rounds": 20}, seed)

        found = out_of_fold(folds, lambda train, test, fit=fit: fit(train).predict(features[test]), COUNT)
        expected, predicted = np.exp(labels), np.exp(found)
        about = About(
            target=name, unit=get_target(name).unit, kind="lightgbm", log=True, blocks=BLOCKS,
            labels=feature_labels(blocks), params=PARAMS, metrics=regression_metrics(expected, predicted),
            encoder=encoder, count=COUNT, seed=seed,
        )  # fmt: skip
        regressor = Regressor(about, fit(np.arange(COUNT)))
        fitted[name] = (regressor, facts.assign(expected=expected, found=predicted))
    elements = [symbol for density in densities for symbol in density.species]
    write_run(uri, fitted, fit_domain(elements, feature_labels(blocks), features), sorted(set(facts.formula)))
    return uri


@pytest.fixture(scope="session")
def parts(tmp_path_factory) -> Parts:
    root = tmp_path_factory.mktemp("runs")
    return Parts(
        write_encoder(str(root / "encoder"), 0), fit_run(str(root / "trees"), ["bulk_modulus", "shear_modulus"])
    )


@pytest.fixture(scope="session")
def bundle_uri(parts, tmp_path_factory) -> str:
    """A published bundle; do not write into it."""
    return publish(parts.encoder, [parts.trees], str(tmp_path_factory.mktemp("bundles") / "small"))["out"]


@pytest.fixture(scope="session")
def small_predictor(bundle_uri) -> Predictor:
    return Predictor.load(bundle_uri)


def seal(folder: Path) -> None:
    """Write into a card the hashes of what now lies beside it."""
    card = json.loads((folder / "card.json").read_bytes())
    card["files"] = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in card["files"]}
    (folder / "card.json").write_text(json.dumps(card))


@pytest.fixture(scope="session")
def build_encoder():
    return write_encoder


@pytest.fixture(scope="session")
def build_run():
    return fit_run


@pytest.fixture(scope="session")
def reseal():
    return seal
