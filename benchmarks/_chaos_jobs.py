"""The jobs that the chaos benchmark disturbs: their flags, what their workers call themselves, what must be equal."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass

import pandas as pd

from rhoray.core.storage import find, join, read_bytes, write_bytes
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.resample import fourier_resample
from rhoray.density.vasp import write_chgcar
from rhoray.models.encoder_files import load_autoencoder
from rhoray.pipeline.encode import read_autoencoder_files
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

BASE = "s3://chaos"
SOURCE = f"{BASE}/chgcars"
LABELS = f"{BASE}/labels.csv"
CRYSTALS = 96
GRID = 60
ROUNDING = 1e-3  # sums over another number of workers round differently, and steps add that up
VALUES = ("bulk_modulus", "shear_modulus")

Compare = Callable[[str, str], str]


def undisturbed(job: str) -> str:
    """Return where the undisturbed run keeps what a job wrote."""
    return f"{BASE}/undisturbed/{job}" + (".csv" if job == "predict" else "")


@dataclass(frozen=True)
class JobKind:
    """One job.

    Attributes:
        name: of its script.
        flags: without --out.
        work: part of the titles of its worker processes.
        same: compares two outputs: nothing, or how they differ.
        rerun: flags that go on with an interrupted run.
    """

    name: str
    flags: tuple[str, ...]
    work: str
    same: Compare
    rerun: tuple[str, ...] = ()

    def command(self, out: str, *, again: bool = False) -> list[str]:
        """Return the script's name and all its flags."""
        return [self.name, *self.flags, "--out", out, *(self.rerun if again else ())]


def content(uri: str) -> dict[str, bytes]:
    """Return every object below a URI."""
    return {found.uri.removeprefix(uri): read_bytes(found.uri) for found in find(uri)}


def same_bytes(expected: str, found: str) -> str:
    """Compare everything below two URIs."""
    one, other = content(expected), content(found)
    if one.keys() != other.keys():
        return f"other objects: {sorted(one.keys() ^ other.keys())[:2]}"
    wrong = [name for name in one if one[name] != other[name]]
    return f"{len(wrong)} objects differ, first {wrong[0]}" if wrong else ""


def same_curve(expected: str, found: str) -> str:
    """Compare the curves of two training runs, and load the weights."""
    one, other = (
        [json.loads(line) for line in read_bytes(join(uri, "metrics.jsonl")).splitlines()] for uri in (expected, found)
    )
    load_autoencoder(read_autoencoder_files(found))
    if [e["epoch"] for e in one] != [e["epoch"] for e in other]:
        return f"epochs {[e['epoch'] for e in other]}"
    keys = ("train_loss", "val_density_error_median")
    off = [max(abs(a[k] / b[k] - 1) if b[k] else math.inf for k in keys) for a, b in zip(one, other, strict=True)]
    return "" if max(off) < ROUNDING else f"curves differ by {max(off):.1e}"


def same_regressors(expected: str, found: str) -> str:
    """Compare the files of two searches, without what tells times."""
    one, other = (
        {name: b for name, b in content(uri).items() if "/ray-" not in name and not name.endswith((".html", ".png"))}
        for uri in (expected, found)
    )
    if one.keys() != other.keys():
        return f"other objects: {sorted(one.keys() ^ other.keys())[:2]}"
    wrong = [name for name in one if one[name] != other[name]]
    return f"{len(wrong)} objects differ, first {wrong[0]}" if wrong else ""


JOBS = {
    kind.name: kind
    for kind in (
        JobKind("ingest", ("--source", SOURCE, "--labels", LABELS), "Map(", same_bytes),
        JobKind(
            "train_ae", ("--data", undisturbed("ingest"), "--epochs", "3", "--workers", "2"),
            "RayTrainWorker", same_curve, ("--resume",),
        ),
        JobKind("encode", ("--data", undisturbed("ingest"), "--model", undisturbed("train_ae")), "Map(", same_bytes),
        JobKind(
            "tune_regressor",
            ("--latents", undisturbed("encode"), "--target", *VALUES, "--model", "lightgbm", "--trials", "8"),
            "ImplicitFunc", same_regressors, ("--resume",),
        ),
        JobKind(
            "publish", ("--encoder", undisturbed("train_ae"), "--regressors", undisturbed("tune_regressor")), "",
            same_bytes,
        ),
        JobKind("predict", ("--bundle", undisturbed("publish"), "--source", SOURCE), "Map(", same_bytes),
    )
}  # fmt: skip


def write_source() -> None:
    """Put CHGCARs of the packaged sample, on finer grids than their own, and a table of labels into the bucket."""
    manifest = read_manifest(sample_uri())
    chosen = manifest.written.head(CRYSTALS)
    for row in (row for uri in manifest.shards for row in read_shard(uri)):
        if row["material_id"] in set(chosen.material_id):
            density = row_density(row)
            values = fourier_resample(density.values, (GRID, GRID, GRID))
            fine = ChargeDensity(values, density.lattice, density.species, density.frac_coords)
            write_bytes(f"{SOURCE}/{row['material_id']}_CHGCAR", write_chgcar(fine).encode())
    table = pd.DataFrame(chosen[["material_id", "split", *VALUES]])
    write_bytes(LABELS, table.to_csv(index=False).encode())
