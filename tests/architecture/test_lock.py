"""requirements.lock pins all that `pip install -e .[dev]` brings in."""

import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[2]
LINES = [line for line in (ROOT / "requirements.lock").read_text().splitlines() if line and line[0] != "#"]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
EXTRAS = PROJECT["optional-dependencies"]
NOT_IN_A_FREEZE = {"pip", "setuptools"}  # they belong to the environment: `pip freeze` leaves them out
# GPAW is compiled against a machine's own libxc and BLAS (infra/gpaw/README.md): no environment of ours holds it.
UNLOCKED = {"dft"}
DIRECT = [
    requirement
    for line in [
        *PROJECT["dependencies"],
        *(x for name, extra in EXTRAS.items() if name not in UNLOCKED for x in extra),
    ]
    if (requirement := Requirement(line)).name != PROJECT["name"]
]


def locked() -> dict[str, Version]:
    pairs = (line.split("==") for line in LINES)
    return {canonicalize_name(name): Version(version) for name, version in pairs}


def needed() -> set[str]:
    """Return every distribution that DIRECT leads to on this machine, by the metadata of what is installed."""
    todo, seen = list(DIRECT), set()
    while todo:
        requirement = todo.pop()
        extras = requirement.extras or {""}
        wanted = {(canonicalize_name(requirement.name), extra) for extra in {"", *extras}} - seen
        seen |= wanted
        for name, extra in wanted:
            for line in metadata.requires(name) or []:
                child = Requirement(line)
                if child.marker is None or child.marker.evaluate({"extra": extra}):
                    todo.append(child)
    return {name for name, _ in seen} - NOT_IN_A_FREEZE


def test_every_line_is_a_plain_pin():
    assert [line for line in LINES if not re.fullmatch(r"[\w.-]+==[\w.!]+", line)] == []
    assert len(locked()) == len(LINES)


@pytest.mark.parametrize("requirement", DIRECT, ids=lambda r: r.name)
def test_a_direct_requirement_is_pinned_within_its_bounds(requirement):
    assert requirement.specifier.contains(locked()[canonicalize_name(requirement.name)], prereleases=True)


def test_indirect_requirements_are_pinned_too():
    assert needed() - locked().keys() == set()


def test_what_is_tested_is_what_is_locked():
    found = {name: Version(metadata.version(name)).public for name in needed()}
    assert found == {name: version.public for name, version in locked().items() if name in found}


def test_xgboost_is_one_that_xgboost_ray_works_with():
    assert locked()["xgboost"] < Version("2.1")


def test_the_project_itself_is_not_pinned():
    assert PROJECT["name"] not in locked()
