"""Print what a node needs of requirements.lock: what `pip install rhoray[aws]` leads to, without tests, docs and lint.

python infra/images/runtime_requirements.py > infra/images/requirements.txt
"""

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
# Ray's images bring a boto3 that the botocore of our lock would break.
EXTRAS = ("aws",)
PROJECT = Requirement(f"rhoray[{','.join(EXTRAS)}]")
HEADER = "# From requirements.lock by infra/images/runtime_requirements.py: what a node needs. Do not edit."


def needed() -> set[str]:
    """Return the names that the project's run-time requirements lead to, by the metadata of what is installed."""
    todo, seen = _of_the_project(), set()
    while todo:
        requirement = todo.pop()
        name = canonicalize_name(requirement.name)
        for extra in {"", *requirement.extras}:
            if (name, extra) not in seen:
                seen.add((name, extra))
                todo += _children(metadata.requires(name) or [], extra)
    return {name for name, _ in seen}


def _children(lines: list[str], extra: str) -> list[Requirement]:
    children = map(Requirement, lines)
    return [child for child in children if child.marker is None or child.marker.evaluate({"extra": extra})]


def _of_the_project() -> list[Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lines = [*project["dependencies"], *(line for extra in EXTRAS for line in project["optional-dependencies"][extra])]
    return [Requirement(line) for line in lines]


def runtime_lock() -> str:
    """Return the lines of requirements.lock that a node needs.

    Raises:
        LookupError: a requirement is not locked.
    """
    locked = {
        canonicalize_name(line.split("==")[0]): line
        for line in (ROOT / "requirements.lock").read_text().splitlines()
        if re.match(r"[\w.-]+==", line)
    }
    names = needed() - {"pip", "setuptools"}
    if missing := names - locked.keys():
        raise LookupError(f"not in requirements.lock: {', '.join(sorted(missing))}")
    return "\n".join([HEADER, *(locked[name] for name in sorted(names))]) + "\n"


if __name__ == "__main__":
    sys.stdout.write(runtime_lock())
