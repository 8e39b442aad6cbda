"""Rules about sources that no linter of ours checks."""

import ast
import functools
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LONGEST_FILE = 500
FOLDERS = ("platform/rhoray", "serve", "jobs", "tests", "benchmarks")
PACKAGE = sorted((ROOT / "platform" / "rhoray").rglob("*.py"))
EVERYTHING = sorted(p for folder in FOLDERS for p in (ROOT / folder).rglob("*.py"))
PICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve"}


@functools.cache
def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield every module that a file imports, anywhere in it, with the names taken from it."""
    for node in ast.walk(parsed(path)):
        if isinstance(node, ast.Import):
            yield from ((alias.name, []) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.module or "", [alias.name for alias in node.names]


def test_the_search_finds_files():
    assert len(PACKAGE) > 50
    assert Path(__file__) in EVERYTHING


def test_imports_are_found_anywhere(tmp_path):
    (tmp_path / "x.py").write_text("def f():\n    import joblib.memory\n    from pickle import loads\n")
    assert list(imports(tmp_path / "x.py")) == [("joblib.memory", []), ("pickle", ["loads"])]


def test_files_are_short():
    lengths = {name(path): len(path.read_text().splitlines()) for path in EVERYTHING}
    assert {file: length for file, length in lengths.items() if length > LONGEST_FILE} == {}


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_nothing_is_unpickled(path):
    assert not PICKLES & {module.split(".")[0] for module, _ in imports(path)}


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_nothing_is_loaded_by_a_function_that_unpickles(path):
    calls = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Call)]
    for call in calls:
        said = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        assert not ast.unparse(call.func).endswith("read_pickle")
        assert said.get("allow_pickle", "False") == "False"
        assert ast.unparse(call.func) != "torch.load" or said.get("weights_only") == "True"


@pytest.mark.parametrize("path", [p for p in PACKAGE if p.name == "__init__.py"], ids=name)
def test_no_init_re_exports(path):
    assert list(imports(path)) == []


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_of_the_root_package_only_facts_are_used(path):
    taken = {n for module, names in imports(path) if module == "rhoray" for n in names}
    nodes = [node for node in ast.walk(parsed(path)) if isinstance(node, ast.Attribute)]
    taken |= {node.attr for node in nodes if isinstance(node.value, ast.Name) and node.value.id == "rhoray"}
    assert taken <= {"__version__", "__file__"}


@pytest.mark.parametrize("path", PACKAGE, ids=name)
def test_every_module_says_what_it_is(path):
    assert ast.get_docstring(parsed(path))


def test_no_script_hides_a_module():
    scripts = [p.stem for folder in ("jobs", "benchmarks") for p in (ROOT / folder).glob("*.py")]
    assert not set(scripts) & (set(sys.stdlib_module_names) | {"ray", "torch", "rhoray", "serve", "numpy"})
