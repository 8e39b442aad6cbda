"""The whole main job on the packaged sample, on one machine: from an S3 bucket to an answer over HTTP.

    python -m rhoray.local.demo

It starts a local object store and a local Ray, runs the very jobs a cluster would run, serves the bundle, posts a
CHGCAR that no model has seen, and ends everything that it started, however it ends.
"""

import argparse
import contextlib
import gzip
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import fsspec
import pandas as pd
import ray
import requests
from ray import serve

from rhoray.core.percent import percent
from rhoray.core.storage import join
from rhoray.core.targets import TARGETS
from rhoray.density.vasp import write_chgcar
from rhoray.local.object_store import object_store
from rhoray.local.ports import HOST, free_port
from rhoray.pipeline.cluster import NO_STATE_API, state_api
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

ROOT = Path(__file__).parents[3]
BUCKET = "rhoray"
OBJECT_STORE_BYTES = 400 * 2**20
SERVE_TIMEOUT_S = 180.0

# A crystal of the sample's test split whose heat of formation stands in every table:
# LiF, -616.93 kJ/mol at 298 K (NIST-JANAF Thermochemical Tables, 4th ed., 1998), here per atom.
SHOWN = "mp-1138"
KJ_PER_MOL_IN_EV = 1 / 96.485
MEASURED = {"formation_energy_per_atom": -616.93 * KJ_PER_MOL_IN_EV / 2}
NUM_CHGCARS = 4
MARKER = ".rhoray-demo"

# A bar's line ends with a carriage return, or where Ray's own words about a worker interrupt it.
_PARTS = re.compile(r"\r|(?=\x1b\[\d+m\(\w+ pid=)")
_FROM_WORKER = re.compile(r"^\S*\((?P<who>\w+) pid=\d+[^)]*\)\S*\s?(?P<line>.*)$")
_WORTH_SHOWING = re.compile(r"^(worker \d+ of|epoch \d+/|WARNING quarantined|failed:|\w[\w ]*: +\d+%|tune )")


def main() -> None:
    """Run the demo."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("demo-output"), help="folder for everything it makes")
    parser.add_argument("--epochs", type=int, default=2, help="of the autoencoder")
    parser.add_argument("--trials", type=int, default=6, help="settings tried per property")
    parser.add_argument("--limit", type=int, help="take only the first so many crystals")
    args = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("terminated"))
    started = time.monotonic()
    out = args.out.absolute()
    if out.exists() and not (out / MARKER).exists():
        sys.exit(f"{out} exists and is not of an earlier demo; choose another --out")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    (out / MARKER).touch()
    with object_store(out / "object-store", BUCKET) as store, _ray_cluster(store.environment) as environment:
        print(f"object store at {store.endpoint}, Ray at {environment['RAY_ADDRESS']}\n")
        demo = _Demo(out, environment)
        demo.learn(args)
        demo.judge()
        demo.serve_and_ask()
        demo.keep()
    print(f"\nDone in {(time.monotonic() - started) / 60:.1f} minutes; nothing is left running.")


@contextlib.contextmanager
def _ray_cluster(store: dict[str, str]) -> Iterator[dict[str, str]]:
    """Run a local Ray that this process owns; yield the environment in which jobs find it and the store."""
    os.environ.update(store)
    os.environ["RAY_AUTH_MODE"] = "disabled"  # it listens on this machine only and ends with the demo
    with state_api(NO_STATE_API):
        ray.init(
            address="local",
            _node_ip_address=HOST,
            include_dashboard=False,
            object_store_memory=OBJECT_STORE_BYTES,
            log_to_driver=False,
            logging_level="ERROR",
        )
    try:
        yield {**os.environ, "RAY_ADDRESS": ray.get_runtime_context().gcs_address}
    finally:
        ray.shutdown()


class _Demo:
    """Folders and URIs of one demo, and its steps in order."""

    def __init__(self, out: Path, environment: dict[str, str]) -> None:
        self.out = out
        self.environment = environment
        self.logs = out / "logs"
        self.logs.mkdir()
        base = f"s3://{BUCKET}"
        self.densities = f"{base}/densities/sample"
        self.encoder = f"{base}/runs/autoencoder"
        self.latents = f"{base}/latents/sample@autoencoder"
        self.trees = f"{base}/runs/trees"
        self.bundle = f"{base}/bundles/demo"
        self.report = f"{base}/reports/demo"

    def learn(self, args: argparse.Namespace) -> None:
        """From the sample to a published bundle."""
        limit = ["--limit", str(args.limit)] if args.limit else []
        self.job("ingest", "--source", "sample:", "--out", self.densities, *limit)
        self.job("train_ae", "--data", self.densities, "--out", self.encoder, "--epochs", str(args.epochs))
        summary = self.job("encode", "--data", self.densities, "--model", self.encoder, "--out", self.latents)
        error = summary.get("density_error_test") or summary["density_error"]
        print(
            f"   reconstruction of {error['crystals']} crystals the network has not seen, misplaced charge: "
            f"{percent(error['median'])} in the median, {percent(error['worst'])} at worst\n"
        )
        self.job(
            "tune_regressor", "--latents", self.latents, "--target", "bulk_modulus", "shear_modulus",
            "--model", "lightgbm", "--trials", str(args.trials), "--out", self.trees,
        )  # fmt: skip
        # The sample has no formation energies: that regressor comes from the packaged bundle.
        self.job("publish", "--encoder", self.encoder, "--regressors", self.trees, "pretrained:", "--out", self.bundle)

    def judge(self) -> None:
        """Report on the crystals that took no part in any of it."""
        self.job("evaluate", "--bundle", self.bundle, "--data", self.densities, "--out", self.report, quiet=True)
        self._copy(self.report, "report")
        print((self.out / "report" / "report.md").read_text())
        chgcars = self.out / "chgcars"
        chgcars.mkdir()
        manifest = read_manifest(sample_uri()).written
        held_out = sorted(manifest[manifest.split == "test"].material_id, key=lambda i: i != SHOWN)
        for material_id in held_out[:NUM_CHGCARS]:
            density = row_density(_sample_row(material_id))
            (chgcars / f"{material_id}_CHGCAR.gz").write_bytes(gzip.compress(write_chgcar(density).encode(), 6))
        self.job(
            "predict", "--bundle", self.bundle, "--source", str(chgcars), "--out", str(self.out / "predictions.csv")
        )

    def job(self, name: str, *flags: str, quiet: bool = False) -> dict[str, Any]:
        """Run jobs/NAME.py, show its progress, keep its whole log, return its last line."""
        print(f"$ python jobs/{name}.py {' '.join(flags)}", flush=True)
        command = [sys.executable, str(ROOT / "jobs" / f"{name}.py"), *flags]
        with (self.logs / f"{name}.log").open("w") as log:
            process = subprocess.Popen(
                command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=self.environment, cwd=ROOT, text=True
            )
            assert process.stdout is not None
            try:
                last = _follow(process.stdout, log)
                status = process.wait()
            finally:
                process.terminate()  # does nothing to one that has ended
        if status:
            sys.exit(f"{name} ended with status {status}: {last}\nlog: {self.logs / name}.log")
        print("" if quiet else f"   {last}\n", flush=True)
        return json.loads(last)

    def serve_and_ask(self) -> None:
        """Serve the bundle and post a CHGCAR."""
        port = free_port(8000)
        serve.start(
            http_options={"host": HOST, "port": port}
        )  # `serve run` joins it; by itself it knows port 8000 only
        url = f"http://{HOST}:{port}"
        print(f"$ serve run serve.app:build bundle={self.bundle}", flush=True)
        with (self.logs / "serve.log").open("w") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "ray.serve.scripts", "run", "serve.app:build", f"bundle={self.bundle}"],
                stdout=log, stderr=subprocess.STDOUT, env=self.environment, cwd=ROOT,
            )  # fmt: skip
            try:
                _wait_for(f"{url}/v1/health", process, self.logs / "serve.log")
                self._ask(url)
            finally:
                process.send_signal(signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                process.kill()

    def _ask(self, url: str) -> None:
        path = self.out / "chgcars" / f"{SHOWN}_CHGCAR.gz"
        print(f"$ curl -F file=@{path.relative_to(self.out.parent)} {url}/v1/predict", flush=True)
        asked = time.monotonic()
        answer = requests.post(f"{url}/v1/predict", files={"file": path.read_bytes()}, timeout=120)
        seconds = time.monotonic() - asked
        answer.raise_for_status()
        body = answer.json()
        (self.out / "answer.json").write_text(json.dumps(body, indent=1))
        _print_answer(body, _references(SHOWN), seconds)
        self._compare_with_batch(body)

    def _compare_with_batch(self, body: dict[str, Any]) -> None:
        table = pd.read_csv(self.out / "predictions.csv", float_precision="round_trip").set_index("material_id")
        same = all(table[p["target"]][SHOWN] == p["value"] for p in body["predictions"])
        print(f"   job and endpoint agree to the last digit: {'yes' if same else 'NO'}")

    def keep(self) -> None:
        """Copy what outlives the object store's process, and say where it is."""
        self._copy(self.bundle, "bundle")
        self._copy(f"{self.encoder}/reconstruction.png", "report/reconstruction.png")
        print(f"\nplots and metrics  {self.out}/report/  (parity_*.png, reconstruction.png, report.md)")
        print(f"bundle             {self.out}/bundle/")
        print(f"predictions        {self.out}/predictions.csv, {self.out}/answer.json")
        print(f"use it             python jobs/predict.py --bundle {self.out}/bundle --source FOLDER --out out.csv")

    def _copy(self, uri: str, name: str) -> None:
        filesystem, path = fsspec.core.url_to_fs(uri)
        target = self.out / name
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get(path, str(target), recursive=not Path(name).suffix)


def _follow(stream: IO[str], log: IO[str]) -> str:
    """Copy a job's output to its log, show the lines that tell of progress, return the last line."""
    last = ""
    for raw in stream:
        for part in _PARTS.split(raw.rstrip("\n")):
            log.write(part + "\n")
            worker = _FROM_WORKER.match(part)
            line = worker["line"] if worker else part
            if _WORTH_SHOWING.match(line):
                print(f"   {line}", flush=True)
            if line.strip() and not worker:
                last = line
    return last


def _wait_for(url: str, process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + SERVE_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            sys.exit(f"serve ended with status {process.returncode}, see {log}")
        with contextlib.suppress(requests.RequestException):
            if requests.get(url, timeout=5).ok:
                return
        time.sleep(0.5)
    sys.exit(f"{url} did not become ready in {SERVE_TIMEOUT_S:.0f} s, see {log}")


def _sample_row(material_id: str) -> dict[str, Any]:
    manifest = read_manifest(sample_uri())
    shard = manifest.rows.set_index("material_id").shard[material_id]
    return next(row for row in read_shard(join(manifest.uri, shard)) if row["material_id"] == material_id)


def _references(material_id: str) -> dict[str, float]:
    manifest = read_manifest(sample_uri())
    row = manifest.rows.set_index("material_id").loc[material_id]
    return {name: float(row[name]) for name in manifest.labels} | MEASURED


def _print_answer(body: dict[str, Any], references: dict[str, float], seconds: float) -> None:
    material = body["material"]
    print(
        f"\n   {material['formula']}: {material['n_atoms']} atoms, {material['volume']:.1f} A^3, "
        f"{material['n_electrons']:.2f} valence electrons; answered in {seconds:.2f} s"
    )
    print(f"   {'property':20}{'prediction':>12}{'90 % interval':>20}  {'unit':8}{'reference':>10}")
    for p in body["predictions"]:
        label = TARGETS[p["target"]].label
        interval = f"{p['lower']:.4g} to {p['upper']:.4g}"
        reference = references.get(p["target"])
        shown = f"{reference:.4g}" if reference is not None else "-"
        print(f"   {label:20}{p['value']:>12.4g}{interval:>20}  {p['unit']:8}{shown:>10}")
    print(f"   known to the model: {'yes' if body['in_domain'] else 'no: ' + '; '.join(body['reasons'])}")
    print("   references: moduli from PBE (de Jong 2015), which gives the rest but the formation energy: that is")
    print("   measured (NIST-JANAF, 298 K), while the model learned PBE values, often 0.1 to 0.3 eV/atom weaker")


if __name__ == "__main__":
    main()
