"""Fixtures that cost something, each made once a session: an S3 server, a Ray, a trained bundle, a served endpoint."""

import contextlib
import gzip
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import ray
import s3fs

from rhoray.core.environment import variables
from rhoray.density.charge_density import ChargeDensity
from rhoray.density.vasp import write_chgcar
from rhoray.local.object_store import ObjectStore, object_store
from rhoray.local.ports import free_port
from rhoray.pipeline.cluster import state_api
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

ROOT = Path(__file__).parents[1]
SHARED = ROOT.parent / "shared"
# Where `pytest.mark.cluster` stands, as the process that deals out the tests must know it.
NEED_RAY = ("tests/cluster/", "tests/serving/test_http.py", "tests/serving/test_faults.py")
# Of those, what starts nodes of its own; and after it, in the same process, what another Ray of the session serves.
OWN_RAY = tuple(f"tests/cluster/test_{name}.py" for name in ("installed", "job_submit", "nodes", "spilling"))
SECOND_RAY = tuple(f"tests/cluster/test_{name}.py" for name in ("kill", "train"))
BUCKET = "tests"
PUBLIC_BUCKET = "materialsproject-parsed"
IDENTITIES = [
    {"name": "anonymous", "actions": [f"Read:{PUBLIC_BUCKET}", f"List:{PUBLIC_BUCKET}"]},
    # May see what there is, but not read it.
    {"name": "lister", "credentials": [{"accessKey": "lister", "secretKey": "listersecret"}], "actions": ["List"]},
]


def pytest_collection_modifyitems(items):
    """Run what needs no Ray first, and skip what needs the reference data where they are absent.

    What talks to the endpoint comes last: once it is up its replicas hold half a CPU of the two, and what trains on
    two actors of one CPU each would wait for it for ever.
    """
    items.sort(
        key=lambda item: (
            item.get_closest_marker("cluster") is not None,
            "served_url" in item.fixturenames,
            item.nodeid.startswith(SECOND_RAY),
        )
    )
    assert all(i.nodeid.startswith(NEED_RAY) for i in items if i.get_closest_marker("cluster"))
    if not SHARED.is_dir():
        for item in items:
            if item.get_closest_marker("shared"):
                item.add_marker(pytest.mark.skip(reason="no reference data beside the project"))


def pytest_xdist_make_scheduler(config, log):
    """With `-n 2`, one process runs most of what needs a Ray of the session, in order; the other what remains."""
    from xdist.scheduler import LoadScopeScheduling

    class OneRay(LoadScopeScheduling):
        def _split_scope(self, nodeid):
            if nodeid.startswith(OWN_RAY + SECOND_RAY):
                return "nodes"
            return "ray" if nodeid.startswith(NEED_RAY) else nodeid

    return OneRay(config, log)


@pytest.fixture(scope="session")
def shared() -> Path:
    return SHARED


@pytest.fixture(scope="session")
def store(tmp_path_factory) -> Iterator[ObjectStore]:
    """A real S3 server; the AWS variables of this process lead to it."""
    with object_store(tmp_path_factory.mktemp("s3"), BUCKET, IDENTITIES) as running, variables(running.environment):
        yield running


@pytest.fixture(scope="module")
def open_data(store) -> Iterator[None]:
    """Two densities where Materials Project would have them; reads of its bucket go there, without keys."""
    from tests.unit.builders import chgcar_document, gzipped, salt, skewed

    filesystem = store.filesystem()
    filesystem.makedirs(PUBLIC_BUCKET, exist_ok=True)
    for task, density in (("mp-149", salt((12, 12, 12))), ("mp-vwyxj", skewed())):
        content = gzipped(json.dumps(chgcar_document(density)).encode())
        filesystem.pipe_file(f"{PUBLIC_BUCKET}/chgcars/{task}.json.gz", content)
    with variables({"RHORAY_MP_ENDPOINT_URL": store.endpoint}):
        yield
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(scope="session")
def cluster(store) -> Iterator[str]:
    """A Ray of two CPUs with its dashboard, as `ray start --head` makes it; its workers see the S3 server."""
    del store  # must run first: workers inherit the environment
    os.environ["RAY_AUTH_MODE"] = "disabled"
    # A submitted job runs `python`, which must be this one, as in an activated environment.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    port = free_port()
    with state_api(f"http://127.0.0.1:{port}"):
        context = ray.init(
            address="local",
            num_cpus=2,
            include_dashboard=True,
            dashboard_port=port,
            object_store_memory=400 * 2**20,
            logging_level="ERROR",
        )
    os.environ["RAY_ADDRESS"] = context.address_info["gcs_address"]
    yield f"http://{context.dashboard_url}"
    os.environ.pop("RAY_ADDRESS")
    ray.shutdown()


@pytest.fixture(scope="session")
def sample_rows() -> dict[str, dict]:
    """Every row of the packaged sample by material_id."""
    manifest = read_manifest(sample_uri())
    return {row["material_id"]: row for uri in manifest.shards for row in read_shard(uri)}


@pytest.fixture(scope="session")
def sample_densities(sample_rows) -> dict[str, ChargeDensity]:
    """A dozen small densities of the sample's test split."""
    manifest = read_manifest(sample_uri())
    held_out = manifest.written[manifest.written.split == "test"].material_id
    small = sorted(held_out, key=lambda i: (np.prod(sample_rows[i]["grid"]), i))[:12]
    return {i: row_density(sample_rows[i]) for i in small}


@pytest.fixture(scope="session")
def sample_chgcars(sample_densities) -> dict[str, bytes]:
    """CHGCARs of four crystals, one of them compressed."""
    texts = {i: write_chgcar(d).encode() for i, d in list(sample_densities.items())[:4]}
    first = next(iter(texts))
    return {**texts, first: gzip.compress(texts[first])}


@dataclass(frozen=True)
class Pipeline:
    """URIs and last lines of the whole main job, run once on the sample."""

    densities: str
    encoder: str
    latents: str
    trees: str
    bundle: str
    ingested: dict
    trained: dict
    encoded: dict
    tuned: dict
    published: dict


@pytest.fixture(scope="session")
def pipeline(cluster) -> Pipeline:
    """Ingest, train, encode, tune and publish on the cluster fixture, S3 in and out."""
    from rhoray.pipeline.encode import encode
    from rhoray.pipeline.ingest import IngestConfig, ingest
    from rhoray.registry.bundle import publish
    from rhoray.train.autoencoder import train_autoencoder
    from rhoray.train.recipes import get_recipe
    from rhoray.tune.search import SearchConfig, search_regressors

    base = f"s3://{BUCKET}"
    uris = {
        "densities": f"{base}/densities/sample",
        "encoder": f"{base}/runs/autoencoder",
        "latents": f"{base}/latents/sample@autoencoder",
        "trees": f"{base}/runs/trees",
        "bundle": f"{base}/bundles/sample",
    }
    ingested = ingest(IngestConfig(source="sample:", out=uris["densities"]))
    trained = train_autoencoder(uris["densities"], uris["encoder"], get_recipe(epochs=1), workers=2)
    encoded = encode(uris["densities"], uris["encoder"], uris["latents"])
    search = SearchConfig(
        latents=uris["latents"], targets=["bulk_modulus", "shear_modulus"], out=uris["trees"], trials=3
    )
    tuned = search_regressors(search)
    published = publish(uris["encoder"], [uris["trees"], "pretrained:"], uris["bundle"])
    return Pipeline(**uris, ingested=ingested, trained=trained, encoded=encoded, tuned=tuned, published=published)


@pytest.fixture(scope="session")
def served_url(pipeline) -> Iterator[str]:
    """The endpoint, serving the bundle that `pipeline` made."""
    from ray import serve

    from serve.app import build
    from serve.settings import ServeSettings

    settings = ServeSettings(bundle=pipeline.bundle, max_upload_bytes=16 * 2**20, max_decompressed_bytes=64 * 2**20)
    port = free_port()
    serve.start(http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(settings), name="rhoray", route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    with contextlib.suppress(Exception):
        serve.shutdown()


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the sdist, built offline by the pinned hatchling."""
    out = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--directory", str(out)],
        cwd=ROOT, check=True, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="session")
def bucket() -> str:
    return f"s3://{BUCKET}"
