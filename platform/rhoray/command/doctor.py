"""`rhoray doctor`: what is installed and reachable, and how to mend what is not."""

import argparse
import importlib.metadata
import json
import os
import platform
import shutil
import socket
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import urlparse

import requests
import torch
from botocore.exceptions import EndpointConnectionError, NoCredentialsError
from packaging.requirements import Requirement

import rhoray
from rhoray.command.terminal import bold, paint, say
from rhoray.core.errors import RhoRayError
from rhoray.core.storage import open_filesystem
from rhoray.registry.bundle import load_bundle

GB = 2**30
LEAST_MEMORY = 6 * GB
LEAST_SHARED_MEMORY = 1 * GB
LEAST_DISK = 2 * GB
PATIENCE_S = 20.0
PROBE = ".rhoray-doctor"
Status = Literal["ok", "note", "amiss"]
COLOURS = {"ok": "green", "note": "yellow", "amiss": "red"}


@dataclass(frozen=True, slots=True)
class Finding:
    """What one look gave.

    Attributes:
        subject: what was looked at.
        status: `ok`; `note`: fine for most; `amiss`: something won't work.
        found: what is there.
        remedy: how to mend it; empty where nothing need be done.
    """

    subject: str
    status: Status
    found: str
    remedy: str = ""


def run(args: argparse.Namespace) -> int:
    """Look at everything; 1 where something is amiss."""
    findings = []
    for finding in _findings(args.uri, write=args.write):
        findings.append(finding)
        if not args.json:
            _say(finding)
    if args.json:
        say(json.dumps({"version": rhoray.__version__, "findings": [asdict(f) for f in findings]}))
    return int(any(finding.status == "amiss" for finding in findings))


def _findings(uris: Sequence[str], *, write: bool) -> Iterator[Finding]:
    """Yield each finding as soon as it is there: a storage may take long to answer."""
    yield from _installation()
    yield from _machine()
    yield _gpu()
    yield _ray()
    yield _gpaw()
    for uri in uris:
        yield _storage(uri, write=write)


def _say(finding: Finding) -> None:
    say(f"{paint(f'{finding.status:<6}', COLOURS[finding.status])}{bold(finding.subject)}: {finding.found}")
    if finding.remedy:
        say(f"      -> {finding.remedy}")
    sys.stdout.flush()


def _installation() -> Iterator[Finding]:
    yield Finding("RhoRay", "ok", f"{rhoray.__version__} in {Path(rhoray.__file__).parent}")
    version = sys.version_info[:2]
    fits = (3, 11) <= version <= (3, 12)
    remedy = "" if fits else "make an environment of Python 3.11 or 3.12: python3.11 -m venv .venv"
    yield Finding("Python", "ok" if fits else "amiss", f"{platform.python_version()}, {sys.executable}", remedy)
    yield _packages()
    try:
        bundle = load_bundle("pretrained:")
        yield Finding("packaged model", "ok", f"{bundle.card['version']}, every hash is right")
    except RhoRayError as error:
        yield Finding(
            "packaged model", "amiss", str(error), "install RhoRay again: its files are damaged or incomplete"
        )


def _packages() -> Finding:
    try:
        lines = importlib.metadata.requires("rhoray") or []
    except importlib.metadata.PackageNotFoundError:
        return Finding("packages", "note", "RhoRay is on the path, but not installed", "pip install rhoray")
    wanted = [r for r in map(Requirement, lines) if r.marker is None or r.marker.evaluate({"extra": ""})]
    wrong = [text for text in map(_unfit, wanted) if text]
    if wrong:
        return Finding("packages", "amiss", "; ".join(wrong), "pip install --upgrade rhoray, in this environment")
    shown = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in ("ray", "torch", "numpy", "pymatgen"))
    return Finding("packages", "ok", f"all {len(wanted)} as required; {shown}")


def _unfit(requirement: Requirement) -> str | None:
    try:
        found = importlib.metadata.version(requirement.name)
    except importlib.metadata.PackageNotFoundError:
        return f"{requirement.name} is missing"
    if requirement.specifier.contains(found, prereleases=True):
        return None
    return f"{requirement.name} {found}, expected {requirement.specifier}"


def _machine() -> Iterator[Finding]:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    yield _enough(
        "memory", memory, LEAST_MEMORY, f"{os.cpu_count()} CPUs", "predict works; for the jobs take a machine with 8 GB"
    )
    free = shutil.disk_usage(Path.cwd()).free
    yield _enough("disk", free, LEAST_DISK, f"free at {Path.cwd()}", "make room, or run elsewhere")
    shared = Path("/dev/shm")  # noqa: S108 - where Ray keeps its object store on Linux
    if shared.is_dir():
        remedy = "in Docker: --shm-size=2g; Ray is slow without"
        yield _enough("shared memory", shutil.disk_usage(shared).free, LEAST_SHARED_MEMORY, "for Ray's objects", remedy)


def _enough(subject: str, found: int, least: int, more: str, remedy: str) -> Finding:
    fits = found >= least
    return Finding(subject, "ok" if fits else "note", f"{found / GB:.1f} GB, {more}", "" if fits else remedy)


def _gpu() -> Finding:
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        return Finding("GPU", "ok", f"{', '.join(names)}; torch {torch.__version__} sees it: train_ae --gpu")
    if shutil.which("nvidia-smi") is None:
        return Finding("GPU", "note", "none; everything runs on CPUs")
    remedy = "install torch for your CUDA (pytorch.org/get-started), or update the driver"
    return Finding("GPU", "note", f"there is a driver, but torch {torch.__version__} sees no GPU", remedy)


def _ray() -> Finding:
    version = importlib.metadata.version("ray")
    address = os.environ.get("RAY_ADDRESS")
    if not address:
        return Finding("Ray", "ok", f"{version}; each job starts its own (RAY_ADDRESS is not set)")
    host, port = _host_and_port(address)
    try:
        socket.create_connection((host, port), timeout=5).close()
    except OSError as error:
        remedy = "unset RAY_ADDRESS to run here, or start the cluster: ray start --head"
        return Finding("Ray", "amiss", f"RAY_ADDRESS={address}: {error}", remedy)
    return Finding("Ray", "ok", f"{version}; RAY_ADDRESS={address} answers" + _cluster_version(address))


def _host_and_port(address: str) -> tuple[str, int]:
    parts = urlparse(address if "://" in address else f"ray://{address}")
    return parts.hostname or "127.0.0.1", parts.port or (8265 if parts.scheme == "http" else 6379)


def _cluster_version(address: str) -> str:
    if not address.startswith("http"):
        return ""
    try:
        return f", Ray {requests.get(f'{address}/api/version', timeout=5).json()['ray_version']}"
    except (requests.RequestException, ValueError, KeyError):
        return ", but not as Ray's dashboard does"


def _gpaw() -> Finding:
    try:
        return Finding("GPAW", "ok", f"{importlib.metadata.version('gpaw')}: compute_density can run")
    except importlib.metadata.PackageNotFoundError:
        return Finding("GPAW", "note", "not installed; only compute_density needs it", "see infra/gpaw/README.md")


def _storage(uri: str, *, write: bool) -> Finding:
    """Look at a URI as the jobs would, within PATIENCE_S."""
    outcome: list[Finding] = []

    def look() -> None:
        outcome.append(_look(uri, write=write))

    thread = threading.Thread(target=look, daemon=True)  # a storage that never answers must not keep us
    thread.start()
    thread.join(PATIENCE_S)
    remedy = "is AWS_ENDPOINT_URL_S3 right, and does a proxy or firewall stand between?"
    return outcome[0] if outcome else Finding(uri, "amiss", f"no answer in {PATIENCE_S:.0f} s", remedy)


def _look(uri: str, *, write: bool) -> Finding:
    try:
        filesystem, path = open_filesystem(uri)
        try:
            there = f"{len(filesystem.ls(path))} entries"
        except FileNotFoundError:
            if write or _has_root(filesystem.exists, path):
                there = "nothing there yet"
            else:
                return Finding(uri, "amiss", "there is no such bucket or folder", "make it, or mend the name")
        if write:
            probe = f"{path.rstrip('/')}/{PROBE}"
            filesystem.makedirs(path, exist_ok=True)
            filesystem.pipe_file(probe, b"")
            filesystem.rm_file(probe)
    except Exception as error:  # noqa: BLE001 - whatever is the matter with a storage is what we are asked for
        return Finding(uri, "amiss", f"{type(error).__name__}: {error}", _remedy(error))
    return Finding(uri, "ok", f"{there}, can be {'read and written' if write else 'read'}")


def _has_root(exists: Callable[[str], bool], path: str) -> bool:
    return exists(path.lstrip("/").split("/", 1)[0] if not path.startswith("/") else str(Path(path).parent))


def _remedy(error: BaseException) -> str:
    if isinstance(error, NoCredentialsError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give the machine a role"
    if isinstance(error, PermissionError):
        return "these keys may not: ask for s3:ListBucket, s3:GetObject, s3:PutObject and s3:DeleteObject on the prefix"
    if isinstance(error, EndpointConnectionError | ConnectionError):
        return "is AWS_ENDPOINT_URL_S3 right, and is the server up?"
    return "see the message; AWS_ENDPOINT_URL_S3, AWS_REGION and the keys are what decides"
