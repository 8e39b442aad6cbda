"""`platform/` is a folder of ours and a module of Python's; ours must never hide Python's."""

import os
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

STANDARD_LIBRARY = Path(sysconfig.get_path("stdlib"))


def test_platform_is_no_package(root):
    assert (root / "platform" / "rhoray" / "__init__.py").is_file()
    assert not (root / "platform" / "__init__.py").exists()


@pytest.mark.parametrize("folder", [".", "jobs", "serve", "tests", "platform", "benchmarks"])
def test_no_module_of_that_name(root, folder):
    assert not (root / folder / "platform.py").exists()


@pytest.mark.parametrize("cwd", [".", "jobs", "serve", "tests", "platform"])
def test_the_standard_library_wins(root, cwd):
    code = "import platform; print(platform.__file__); print(platform.python_version())"
    environment = {**os.environ, "PYTHONPATH": f"{root}{os.pathsep}{root / 'platform'}"}
    run = subprocess.run(
        [sys.executable, "-c", code], cwd=root / cwd, env=environment, capture_output=True, text=True, check=True
    )
    file, version = run.stdout.split()
    assert Path(file) == STANDARD_LIBRARY / "platform.py"
    assert version == sys.version.split()[0].rstrip("+")
