"""The wheel holds all that a user needs, and predicts from a CIF where nothing of this checkout is on the path."""

import os
import subprocess
import tarfile
import venv
import zipfile
from pathlib import Path

import numpy as np
import pytest

import rhoray
from tests.unit.builders import ROCK_SALT


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """The `bin` of an environment that holds the wheel, and this environment's packages but not its RhoRay."""
    home = tmp_path_factory.mktemp("venv")
    venv.create(home, with_pip=False, symlinks=True)
    (site,) = home.glob("lib/python*/site-packages")
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(site)  # noqa: S202 - our own
    (site / "dependencies.pth").write_text(str(Path(np.__file__).parents[1]))
    return home / "bin"


def test_the_wheel_has_the_model_the_page_and_the_jobs(built, root):
    wheel, _ = built
    assert wheel.name == f"rhoray-{rhoray.__version__}-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as file:
        names = set(file.namelist())
        assert f"rhoray-{rhoray.__version__}.dist-info/licenses/NOTICE" in names
        entry_points = file.read(f"rhoray-{rhoray.__version__}.dist-info/entry_points.txt").decode()
    assert "rhoray = rhoray.command.main:main" in entry_points
    for where, files in {
        "rhoray/pretrained": (root / "platform/rhoray/pretrained").rglob("*"),
        "rhoray/sample": (root / "platform/rhoray/sample").rglob("*"),
        "serve/ui/dist": (root / "serve/ui/dist").rglob("*"),
        "rhoray/jobs": (root / "jobs").glob("*.py"),
    }.items():
        base = root / ("jobs" if where == "rhoray/jobs" else where if where[0] == "s" else f"platform/{where}")
        wanted = {f"{where}/{path.relative_to(base)}" for path in files if path.is_file()}
        assert wanted
        assert wanted <= names
    assert not [name for name in names if "node_modules" in name or "__pycache__" in name or "ui/src" in name]
    assert {name.split("/")[0] for name in names} == {"rhoray", "serve", f"rhoray-{rhoray.__version__}.dist-info"}


def test_the_sdist_can_be_built_from(built, root):
    with tarfile.open(built[1]) as file:
        names = {name.partition("/")[2] for name in file.getnames()}
    assert {"pyproject.toml", "README.md", "LICENSE", "NOTICE", "jobs/ingest.py", "serve/ui/dist/index.html"} <= names
    assert (root / "platform/rhoray/pretrained/LATEST").is_file()
    assert "platform/rhoray/pretrained/LATEST" in names


def test_it_predicts_from_a_cif_in_one_line(installed, tmp_path):
    (tmp_path / "crystal.cif").write_text(ROCK_SALT)
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}

    def run(*words):
        command = [str(installed / "python"), "-m", "rhoray.command", *words]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=True, timeout=120
        ).stdout

    assert "bulk modulus" in run("predict", "crystal.cif")
    assert "usage: rhoray jobs ingest" in run("jobs", "ingest", "--help")
    code = "from importlib.util import find_spec as f; print(f('rhoray').origin, f('serve').origin)"
    where = subprocess.run(
        [str(installed / "python"), "-c", code],
        cwd=tmp_path, env=environment, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    assert where.count(str(installed.parent)) == 2
