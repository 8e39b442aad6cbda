"""Bundles: everything a prediction needs, in one versioned folder without pickle, with a hash of every file.

    <name>/LATEST                      the newest version
    <name>/<version>/card.json         what it is, and the SHA-256 of each file below
    <name>/<version>/autoencoder.*     network
    <name>/<version>/regressors/…      one folder per target
    <name>/<version>/difficulty/…      where residuals are large, one file per target with adaptive intervals
    <name>/<version>/calibration.json, domain.json, formulas.json

Of files with one hash only the first is there: regressors may have large parts in common. A version is written before
LATEST names it, and never changes.
"""

import datetime
import hashlib
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from importlib.resources import files as package_files
from typing import Any

import numpy as np
import pandas as pd

import rhoray
from rhoray.core.errors import BundleError
from rhoray.core.intervals import Calibration, calibrate, with_derived_spreads
from rhoray.core.storage import exists, find, join, name_of, normalise, read_bytes, write_bytes
from rhoray.core.targets import TARGETS, get_target, in_reading_order, with_derived
from rhoray.features.registry import BLOCK_NAMES, get_blocks
from rhoray.models.difficulty import Difficulty, load_difficulty
from rhoray.models.domain import Domain, domain_from_json
from rhoray.models.encoder_files import ABOUT, WEIGHTS, TrainedAutoencoder, load_autoencoder
from rhoray.models.regressor import Regressor, load_regressor, to_model_scale
from rhoray.registry.run_files import DIFFICULTY, DOMAIN, FORMULAS, OUT_OF_FOLD, REGRESSORS

PRETRAINED = "pretrained:"
CARD = "card.json"
LATEST = "LATEST"
CALIBRATION = "calibration.json"
LICENCE = "Apache-2.0"
# With fewer, no residual is the finite-sample 90 % quantile.
FEWEST_RESIDUALS = 9

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Bundle:
    """A loaded and verified bundle."""

    uri: str
    card: dict[str, Any]
    autoencoder: TrainedAutoencoder
    regressors: dict[str, Regressor]
    calibrations: dict[str, Calibration]
    domain: Domain
    formulas: frozenset[str]
    difficulties: dict[str, Difficulty] = field(default_factory=dict)

    def intervals(
        self, values: dict[str, np.ndarray], columns: dict[str, np.ndarray]
    ) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """Return lower and upper ends of 90 % intervals around predictions.

        Args:
            values: each of `targets` to predictions, (n,), in its unit.
            columns: feature label to numbers, (n,); those of the regressors.
        """
        spreads = {
            target: difficulty.spread(
                np.stack([columns[label] for label in difficulty.labels], axis=1),
                to_model_scale(values[target], log=self.regressors[target].about.log),
            )
            for target, difficulty in self.difficulties.items()
        }
        spreads = with_derived_spreads(values, spreads)
        return {t: self.calibrations[t].interval(values[t], spreads.get(t)) for t in self.targets}

    @property
    def targets(self) -> list[str]:
        """Every target it predicts, learned or derived, in reading order."""
        return in_reading_order(self.calibrations)


def resolve(uri: str) -> str:
    """Return the version a URI means: itself, or the newest below it; `pretrained:` is the packaged one.

    Raises:
        BundleError: there is none.
    """
    if uri == PRETRAINED:
        uri = normalise(str(package_files("rhoray") / "pretrained"))
    if exists(join(uri, CARD)):
        return normalise(uri)
    try:
        return join(uri, read_bytes(join(uri, LATEST)).decode().strip())
    except (FileNotFoundError, NotADirectoryError) as error:
        raise BundleError(f"{uri}: no {CARD} and no {LATEST}, expected the --out of publish") from error


def load_bundle(uri: str) -> Bundle:
    """Load a bundle and check every hash.

    Raises:
        BundleError: absent, altered, incomplete, or of a newer format.
    """
    root = resolve(uri)
    files = _verified_files(root)
    try:
        card = json.loads(files[CARD])
        raw = json.loads(files[CALIBRATION])
        domain = domain_from_json(json.loads(files[DOMAIN]))
        formulas = frozenset(json.loads(files[FORMULAS]))
    except (KeyError, ValueError) as error:
        raise BundleError(f"{root} is incomplete: {error}") from error
    calibrations = {name: Calibration(**values) for name, values in raw.items()}
    regressors = _regressors(files)
    autoencoder = load_autoencoder({name: files.get(name, b"") for name in (WEIGHTS, ABOUT)})
    _check_encoders(regressors, autoencoder)
    return Bundle(root, card, autoencoder, regressors, calibrations, domain, formulas, _difficulties(files))


def _difficulties(files: Files) -> dict[str, Difficulty]:
    return {
        name.split("/")[1].removesuffix(".txt"): load_difficulty(content)
        for name, content in files.items()
        if name.startswith(f"{DIFFICULTY}/")
    }


def _verified_files(root: str) -> Files:
    try:
        content = read_bytes(join(root, CARD))
    except FileNotFoundError as error:
        raise BundleError(f"{root}: no {CARD}") from error
    try:
        hashes = {name: str(digest) for name, digest in json.loads(content)["files"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise BundleError(f"{root}: {CARD} is garbled: {error!r}") from error
    out = {CARD: content}
    verified: dict[str, bytes] = {}
    for name, digest in hashes.items():
        if digest not in verified:
            verified[digest] = _verified_file(root, name, digest)
        out[name] = verified[digest]
    return out


def _verified_file(root: str, name: str, digest: str) -> bytes:
    try:
        content = read_bytes(join(root, name))
    except FileNotFoundError as error:
        raise BundleError(f"{root}: {name} is missing") from error
    found = hashlib.sha256(content).hexdigest()
    if found != digest:
        raise BundleError(f"{root}: {name} was altered (SHA-256 {found[:12]}…, expected {digest[:12]}…)")
    return content


def _regressors(files: Files) -> dict[str, Regressor]:
    folders: dict[str, Files] = {}
    for name, content in files.items():
        parts = name.split("/")
        if parts[0] == REGRESSORS and len(parts) == 3:
            folders.setdefault(parts[1], {})[parts[2]] = content
    return {target: load_regressor(folder) for target, folder in folders.items()}


def _check_encoders(regressors: dict[str, Regressor], autoencoder: TrainedAutoencoder) -> None:
    for target, regressor in regressors.items():
        wanted = regressor.about.encoder
        if wanted is not None and wanted != autoencoder.digest:
            raise BundleError(
                f"{target} learned from latents of encoder {wanted[:12]}…, this one is {autoencoder.digest[:12]}…"
            )


@dataclass(slots=True)
class _Parts:
    """What one --regressors URI offers: a run, or the regressors of another bundle."""

    regressors: dict[str, Regressor]
    domain: Domain
    formulas: set[str]
    calibrations: dict[str, Calibration] = field(default_factory=dict)
    out_of_fold: pd.DataFrame | None = None
    difficulties: dict[str, Difficulty] = field(default_factory=dict)

    def taken(self, chosen: dict[str, Regressor]) -> set[str]:
        """Return the targets for which this offer's regressor was chosen."""
        return {target for target, regressor in self.regressors.items() if chosen.get(target) is regressor}


def publish(
    encoder: str,
    regressors: Sequence[str],
    out: str,
    *,
    now: datetime.datetime | None = None,
    facts: dict[str, Any] | None = None,
) -> dict[str, Any]:
    """Write a bundle of one encoder and the regressors of runs or other bundles.

    Where several offer one target, the first wins; of another bundle only those regressors are taken that do not
    look at its latents. What the bundle takes for known comes from the first of which it takes a regressor.

    Args:
        encoder: --out of train_ae, or a bundle.
        regressors: --out of tune_regressor, or bundles.
        out: folder of all versions; its last part is the bundle's name.
        now: creation time; default the present.
        facts: further entries of the card, such as data, protocol and limits.

    Returns:
        name, version, out.

    Raises:
        BundleError: something is missing, or a regressor learned from another encoder's latents.
    """
    encoder_files = {name: _read(join(resolve_encoder(encoder), name)) for name in (WEIGHTS, ABOUT)}
    autoencoder = load_autoencoder(encoder_files)
    offers = [_parts(uri) for uri in regressors]
    chosen: dict[str, Regressor] = {}
    for uri, offer in zip(regressors, offers, strict=True):
        foreign = [t for t, r in offer.regressors.items() if not _fits(r, autoencoder.digest)]
        if foreign and offer.out_of_fold is not None:
            raise BundleError(f"{uri}: {', '.join(foreign)} learned from the latents of another encoder than {encoder}")
        chosen = {**{t: r for t, r in offer.regressors.items() if _fits(r, autoencoder.digest)}, **chosen}
    if not chosen:
        raise BundleError("no regressor fits this encoder: were they tuned on its latents?")
    used = _chosen_calibrations(offers, chosen)
    if missing := chosen.keys() - used.keys():
        raise BundleError(f"{sorted(missing)}: fewer than {FEWEST_RESIDUALS} residuals, no interval to give")
    formulas = set().union(*(offer.formulas for offer in offers))
    if any(regressor.about.encoder for regressor in chosen.values()):  # what the encoder saw, its latents tell
        formulas |= set(autoencoder.about.get("training_formulas", []))
    files = {
        **encoder_files,
        **{
            f"{REGRESSORS}/{target}/{name}": content
            for target, regressor in chosen.items()
            for name, content in regressor.to_files().items()
        },
        **_chosen_difficulties(offers, chosen),
        CALIBRATION: _json({t: asdict(c) for t, c in used.items()}),
        DOMAIN: _json(_chosen_domain(offers, chosen, autoencoder.digest).to_json()),
        FORMULAS: _json(sorted(formulas)),
    }
    hashes = {name: hashlib.sha256(content).hexdigest() for name, content in sorted(files.items())}
    created = now or datetime.datetime.now(datetime.UTC)
    version = f"{created:%Y%m%d}-{hashlib.sha256(_json(hashes)).hexdigest()[:8]}"
    out = normalise(out)
    card = {
        "name": name_of(out),
        "version": version,
        "created": created.isoformat(timespec="seconds"),
        "licence": LICENCE,
        "code": rhoray.__version__,
        "targets": [_describe(t, chosen, used[t]) for t in in_reading_order(used)],
        "autoencoder": {k: autoencoder.about.get(k) for k in ("recipe", "frame", "metrics", "data")},
        "training": {"formulas": len(formulas), "interval_coverage": 0.9},
        **(facts or {}),
        "files": hashes,
    }
    root = join(out, version)
    for name in {digest: name for name, digest in reversed(hashes.items())}.values():
        write_bytes(join(root, name), files[name])
    write_bytes(join(root, CARD), json.dumps(card, indent=1).encode() + b"\n")
    write_bytes(join(out, LATEST), f"{version}\n".encode())
    return {"name": card["name"], "version": version, "out": root}


def _fits(regressor: Regressor, digest: str) -> bool:
    return regressor.about.encoder in (None, digest)


def _chosen_calibrations(offers: list[_Parts], chosen: dict[str, Regressor]) -> dict[str, Calibration]:
    """Calibrate what runs offer on their residuals; of a bundle keep the intervals of what was chosen from it."""
    tables: list[pd.DataFrame] = []
    kept: dict[str, Calibration] = {}
    for offer in offers:
        taken = offer.taken(chosen)
        kept |= {t: c for t, c in offer.calibrations.items() if t in taken or _derivable(t, taken)}
        if offer.out_of_fold is not None and taken:
            tables.append(offer.out_of_fold[offer.out_of_fold.target.isin(taken)])
    found = {**_calibrations(tables), **kept}
    return {**_bounds(found, chosen), **found}


def _chosen_difficulties(offers: list[_Parts], chosen: dict[str, Regressor]) -> Files:
    return {
        f"{DIFFICULTY}/{target}.txt": difficulty.to_bytes()
        for offer in offers
        for target, difficulty in offer.difficulties.items()
        if target in offer.taken(chosen)
    }


def _bounds(found: dict[str, Calibration], chosen: dict[str, Regressor]) -> dict[str, Calibration]:
    """Calibrate derived targets whose moduli have no residuals in common.

    ln E and ln theta change by no more than the larger change of ln K and ln G, so that one's factor is safe.
    """
    moduli = [found[t] for t in ("bulk_modulus", "shear_modulus") if t in found]
    widest = max((c.width * (c.typical or 1.0) for c in moduli), default=0.0)
    safe = Calibration(widest, True, min((c.count for c in moduli), default=0))
    return {t: safe for t in TARGETS if _derivable(t, chosen.keys() & found.keys())}


def _chosen_domain(offers: list[_Parts], chosen: dict[str, Regressor], digest: str) -> Domain:
    """Return the first chosen offer's domain; without its latent columns if they are of another encoder."""
    first = next(offer for offer in offers if offer.taken(chosen))
    domain = first.domain
    if all(_fits(regressor, digest) for regressor in first.regressors.values()):
        return domain
    own = domain.without([block.name for block in get_blocks(BLOCK_NAMES) if block.needs_latent])
    if not own.labels:
        raise BundleError("the span of the training crystals is in another encoder's latents only: tune on this one's")
    return own


def _describe(target: str, chosen: dict[str, Regressor], calibration: Calibration) -> dict[str, Any]:
    regressor = chosen.get(target)
    about = regressor.target if regressor else get_target(target)
    described: dict[str, Any] = {"target": target, "unit": about.unit, "label": about.label}
    if regressor is None:
        described["derived_from"] = ["bulk_modulus", "shear_modulus"]
    else:
        described |= {
            "model": regressor.about.kind,
            "features": regressor.about.blocks,
            "crystals": regressor.about.count,
            "cross_validation": regressor.about.metrics,
        }
    kind = "factor" if calibration.log else "distance"
    usual = calibration.width * (calibration.typical or 1.0)
    width = float(np.exp(usual)) if calibration.log else usual
    shape = "constant" if calibration.typical is None else "adaptive, here the median"
    return {**described, "interval_90": {kind: width, "width": shape, "residuals": calibration.count}}


def _derivable(target: str, learned: set[str]) -> bool:
    return target in TARGETS and TARGETS[target].derived and {"bulk_modulus", "shear_modulus"} <= learned


def _json(value: object) -> bytes:
    return json.dumps(value, sort_keys=True).encode() + b"\n"


def resolve_encoder(uri: str) -> str:
    """Return the folder that holds the autoencoder of a training run or of a bundle.

    Raises:
        BundleError: it is neither.
    """
    return resolve(uri) if uri == PRETRAINED or not exists(join(uri, WEIGHTS)) else normalise(uri)


def _read(uri: str) -> bytes:
    try:
        return read_bytes(uri)
    except FileNotFoundError as error:
        raise BundleError(f"{uri} is not there") from error


def _parts(uri: str) -> _Parts:
    """Read what a run or a bundle offers."""
    if uri == PRETRAINED or not exists(join(uri, OUT_OF_FOLD)):
        bundle = load_bundle(uri)
        return _Parts(
            bundle.regressors, bundle.domain, set(bundle.formulas), bundle.calibrations, None, bundle.difficulties
        )
    root = normalise(uri)
    names = (stat.uri[len(root) + 1 :] for stat in find(root))
    files = {n: _read(join(root, n)) for n in names if n.split("/")[0] in (REGRESSORS, DIFFICULTY)}
    return _Parts(
        _regressors(files),
        domain_from_json(json.loads(_read(join(root, DOMAIN)))),
        set(json.loads(_read(join(root, FORMULAS)))),
        {},
        pd.read_parquet(io.BytesIO(_read(join(root, OUT_OF_FOLD)))),
        _difficulties(files),
    )


def _calibrations(tables: list[pd.DataFrame]) -> dict[str, Calibration]:
    """Calibrate learned targets on their residuals, derived ones on what follows from out-of-fold K and G."""
    if not tables:
        return {}
    everything = pd.concat(tables).drop_duplicates(["material_id", "target"])
    crystals = everything.drop_duplicates("material_id").set_index("material_id")
    sides = {}
    for side in ("expected", "found"):
        wide = everything.pivot_table(index="material_id", columns="target", values=side)
        facts = crystals.loc[wide.index]
        sides[side] = with_derived(
            {str(t): wide[t].to_numpy(float) for t in wide},
            facts.mass_density.to_numpy(float),
            facts.volume_per_atom.to_numpy(float),
        )
    spreads = _spreads(everything, sides["found"])
    found = {
        t: calibrate(expected, sides["found"][t], log=get_target(t).positive, spread=spreads.get(t))
        for t, expected in sides["expected"].items()
    }
    return {target: c for target, c in found.items() if c.count >= FEWEST_RESIDUALS}


def _spreads(everything: pd.DataFrame, found: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Return out-of-fold spreads in the rows of the wide tables, of targets whose run has a model of them."""
    if "spread" not in everything:
        return {}
    wide = everything.pivot_table(index="material_id", columns="target", values="spread", dropna=False)
    known = {str(t): wide[t].to_numpy(float) for t in wide if wide[t].notna().any()}
    return with_derived_spreads(found, known)
