"""Networks on sites: what torch fits is what NumPy predicts, whatever cell the crystal is given in."""

import numpy as np
import pytest
import torch
from pymatgen.core import Lattice, Structure
from safetensors.numpy import load, save

from rhoray.core.errors import BundleError
from rhoray.density.charge_density import ChargeDensity
from rhoray.features.sites import sites_of
from rhoray.models.ensemble import Ensemble, load_ensemble
from rhoray.models.model import SiteModel
from rhoray.models.site_network import FILE, TRUNK_FILE, Trunk, load_site_networks
from rhoray.train import site_network
from rhoray.train.site_network import SiteSettings, fit_site_networks

PAIRS = [(a, b) for a in ("Li", "Na", "K", "Mg", "Ca", "Ti", "Ni", "Zr") for b in ("F", "O", "S", "C", "N", "Cl")]
SMALL = SiteSettings(width=16, rounds=2, head=(16, 8), epochs=4, batch=8, seeds=2)


def density(structure):
    species = tuple(site.specie.symbol for site in structure)
    return ChargeDensity(np.ones((4, 4, 4)), structure.lattice.matrix, species, structure.frac_coords)


def crystal(cation, anion, size):
    lattice = Lattice.from_parameters(size, 1.1 * size, 1.2 * size, 88, 93, 101)
    return Structure(lattice, [cation, anion, anion], [[0, 0, 0], [0.5, 0.45, 0.5], [0.4, 0.1, 0.7]])


@pytest.fixture(scope="module")
def structures():
    return [crystal(*pair, 3.4 + 0.02 * i) for i, pair in enumerate(PAIRS)]


@pytest.fixture(scope="module")
def crystals(structures):
    return [sites_of(density(s)) for s in structures]


@pytest.fixture(scope="module")
def targets(structures):
    size = np.array([s.volume for s in structures])
    half = np.where(np.arange(len(size)) % 2, np.nan, [s.composition.total_electrons for s in structures])
    return {"size": np.log(size), "half": half}


@pytest.fixture(scope="module")
def fitted(crystals, targets):
    return fit_site_networks(crystals, targets, SMALL, 0, ["half"])


def test_it_learns(crystals, targets):
    settings = SiteSettings(width=16, rounds=2, head=(16, 8), epochs=60, batch=8, seeds=1, average=0.95, dropout=0.0)
    found = fit_site_networks(crystals, targets, settings, 0)["size"].predict_sites(crystals)
    assert np.corrcoef(found, targets["size"])[0, 1] > 0.9


def test_numpy_predicts_what_torch_fitted(crystals, targets, fitted, monkeypatch):
    nets = []
    keep = site_network._weights
    monkeypatch.setattr(site_network, "_weights", lambda net: nets.append(net) or keep(net))
    again = fit_site_networks(crystals, targets, SMALL, 0, ["half"])["size"]
    graphs = site_network._Graphs(crystals, again.trunk.surroundings)
    with torch.inference_mode():
        torchs = torch.stack([net(graphs.batch(np.arange(len(crystals))))[:, 0] for net in nets]).mean(0).numpy()
    np.testing.assert_allclose(again.predict_sites(crystals), torchs * again.deviation + again.mean, atol=2e-3)
    np.testing.assert_array_equal(again.predict_sites(crystals), fitted["size"].predict_sites(crystals))


def test_a_linear_model_of_fractions_comes_first(crystals, targets, fitted):
    assert not fitted["size"].fractions.any()
    known = np.isfinite(targets["half"])
    part = np.array([s.share @ fitted["half"].fractions[s.rows] for s in crystals])
    assert np.corrcoef(part[known], targets["half"][known])[0, 1] > 0.9


def test_neither_the_cell_nor_the_company_matters(structures, crystals, fitted):
    model = fitted["size"]
    moved = structures[5].copy()
    moved.make_supercell([[1, 1, 0], [0, 2, 0], [0, 0, 1]])
    moved.translate_sites(range(len(moved)), [0.13, 0.29, 0.41])
    assert model.predict_sites([sites_of(density(moved))])[0] == pytest.approx(
        model.predict_sites(crystals)[5], rel=1e-5
    )
    alone = np.concatenate([model.predict_sites([c]) for c in crystals[:5]])
    np.testing.assert_array_equal(alone, model.predict_sites(crystals)[:5])


def test_to_a_file_and_back(crystals, fitted):
    for model in fitted.values():
        assert isinstance(model, SiteModel)
        loaded = load_site_networks(model.to_files())
        np.testing.assert_array_equal(loaded.predict_sites(crystals), model.predict_sites(crystals))


def test_targets_of_one_fit_share_their_trunk_after_loading(crystals, fitted, monkeypatch):
    files = [model.to_files() for model in fitted.values()]
    assert files[0][TRUNK_FILE] == files[1][TRUNK_FILE]
    loaded = [load_site_networks(own) for own in files]
    assert loaded[0].trunk == loaded[1].trunk
    read = []
    keep = Trunk.read
    monkeypatch.setattr(Trunk, "read", lambda self, sites: read.append(sites) or keep(self, sites))
    fresh = sites_of(density(crystal("Sr", "O", 4.0)))
    for model in loaded:
        model.predict_sites([fresh])
    assert read == [fresh]


def test_a_member_of_an_ensemble(crystals, fitted):
    model = Ensemble({"sites": fitted["size"]}, {"sites": 0.5})
    assert model.needs_sites
    np.testing.assert_allclose(
        model.predict(np.zeros((len(crystals), 3)), crystals), 0.5 * fitted["size"].predict_sites(crystals)
    )
    again = load_ensemble(model.to_files(), model.shares)
    np.testing.assert_array_equal(
        again.predict(np.zeros((1, 3)), crystals[:1]), model.predict(np.zeros((1, 3)), crystals[:1])
    )


def test_both_in_one_file_as_the_first_bundles_have_them(crystals, fitted):
    files = {name: load(content) for name, content in fitted["size"].to_files().items()}
    trunk = {f"trunk.{name}": value for name, value in files[TRUNK_FILE].items() if name != "surroundings"}
    one = save({**files[FILE], **trunk, "surroundings": files[TRUNK_FILE]["surroundings"]})
    np.testing.assert_array_equal(
        load_site_networks({FILE: one}).predict_sites(crystals), fitted["size"].predict_sites(crystals)
    )


@pytest.mark.parametrize("name", [FILE, TRUNK_FILE])
def test_bytes_that_are_no_model(fitted, name):
    files = fitted["size"].to_files()
    with pytest.raises(BundleError, match="not a"):
        load_site_networks({**files, name: b""})
    with pytest.raises(BundleError, match="KeyError"):
        load_site_networks({kept: content for kept, content in files.items() if kept != name})
