"""Every command and snippet of the documentation runs, or its words are checked against what would read them.

Cheap ones run here; `python benchmarks/run_docs.py` runs the jobs for real.
"""

import importlib.util
import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

from rhoray.command.flags import build_parser
from rhoray.command.job_scripts import job_names, jobs_folder
from rhoray.command.main import main
from rhoray.density.vasp import write_chgcar
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from serve.settings import ServeSettings
from tests.unit.builders import ROCK_SALT

ROOT = Path(__file__).parents[2]
_spec = importlib.util.spec_from_file_location("snippets", ROOT / "docs" / "snippets.py")
_module = importlib.util.module_from_spec(_spec)
sys.modules["snippets"] = _module
_spec.loader.exec_module(_module)
COMMANDS = list({s.text: s for s in _module.EVERYTHING if s.language == "bash"}.values())
PYTHON = [s for s in _module.EVERYTHING if s.language == "python"]

# Commands of others, with what we say of them: they are not run here.
OTHERS = {
    "python3 -m venv": None, "source .venv/bin/activate": None, "pip install": None, "export": None, "git": None,
    "sudo apt-get install": None, "CC=g++ pip install": None, "gpaw info": None,
    "ray start --head": {"--head"}, "ray up cluster.yaml": set(), "ray stop": set(),
    "ray dashboard cluster.yaml": set(), "ray down cluster.yaml": set(), "ray get-auth-token": set(), "kubectl": None,
}  # fmt: skip
RUN_HERE = {"predict", "info", "plot", "jobs", "doctor"}


def _id(snippet) -> str:
    return f"{snippet.page}: {snippet.text[:60]}"


@pytest.fixture(scope="module")
def desk(tmp_path_factory, sample_rows) -> Path:
    """A folder with the files that the documentation speaks of."""
    from rhoray.store.shards import row_density

    where = tmp_path_factory.mktemp("desk")
    text = write_chgcar(row_density(sample_rows["mp-1138"]))
    (where / "CHGCAR").write_text(text)
    (where / "crystal.cif").write_text(ROCK_SALT)
    (where / "demo-output" / "chgcars").mkdir(parents=True)
    (where / "demo-output" / "chgcars" / "mp-1138_CHGCAR.gz").write_text(text)  # plain is read under any name
    return where


@pytest.mark.parametrize("snippet", COMMANDS, ids=_id)
def test_a_command_is_one_that_works(snippet, desk, monkeypatch, capsys):
    monkeypatch.chdir(desk)
    words = snippet.words
    if words[0] == "rhoray" and words[1:2] != ["jobs"]:
        _rhoray(words, capsys)
    elif "--" in words and words[:3] == ["ray", "job", "submit"]:
        _job(words[words.index("--") + 1 :], monkeypatch)
    elif words[0] in {"rhoray", "python"}:
        _job(words, monkeypatch)
    elif words[0] == "make":
        assert re.search(rf"^{words[1]}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
    elif words[0] == "curl":
        _curl(words)
    elif words[0] == "serve":
        _serve(words)
    else:
        assert any(snippet.text.startswith(known) for known in OTHERS), "not accounted for"


def _rhoray(words, capsys):
    """Parse, and run what is cheap and needs no network."""
    files = [Path(w) for w in words[1:] if "*" in w]
    plain = [w for w in words[1:] if Path(w) not in files] + [str(p) for f in files for p in Path().glob(str(f))]
    known = build_parser().parse_args(plain)
    if (
        known.command not in RUN_HERE
        or "--url" in plain
        or "s3://" in " ".join(plain)
        or getattr(known, "bundle", None)
    ):
        return
    main(plain)
    assert capsys.readouterr().out


def _job(words, monkeypatch):
    """Parse a job's flags by its own parser."""
    if words[:2] == ["rhoray", "jobs"]:
        if len(words) == 2:
            return
        name, flags = words[2], words[3:]
    else:
        script = Path(words[1])
        assert (ROOT / script).is_file() or (ROOT / "benchmarks" / script).is_file() or words[1:3] == ["-m", "build"]
        if script.parent.name != "jobs":
            return
        name, flags = script.stem, words[2:]
    assert name in job_names()
    monkeypatch.syspath_prepend(str(jobs_folder()))
    monkeypatch.setattr(sys, "argv", [name, *flags])
    arguments = runpy.run_path(str(jobs_folder() / f"{name}.py"), run_name="snippet")["arguments"]
    if "--help" in flags:
        with pytest.raises(SystemExit, match="0"):
            arguments()
    else:
        arguments()


def _curl(words):
    from serve.routes import build_api

    (url,) = (w for w in words if w.startswith("http"))
    path = "/" + url.split("/", 3)[3]
    assert path in build_api(ServeSettings(), None, behind_serve=False).openapi()["paths"]


def _serve(words):
    assert words[1] in {"run", "deploy", "status"}
    if words[1] == "status":
        return
    if words[1] == "deploy":
        assert (ROOT / words[2]).is_file()
        return
    module, name = words[2].split(":")
    assert re.search(rf"^(def {name}\(|{name} = )", (ROOT / f"{module.replace('.', '/')}.py").read_text(), re.MULTILINE)
    assert {word.partition("=")[0] for word in words[3:]} <= set(ServeSettings.model_fields)


@pytest.mark.parametrize("snippet", PYTHON, ids=_id)
def test_a_python_snippet_runs(snippet, desk):
    manifest = read_manifest(sample_uri())
    needs = {
        "pq.read_table(sys.argv[1])": manifest.shards[0],
        "pd.read_parquet(sys.argv[1])": f"{manifest.uri}/manifest.parquet",
    }
    argument = next((uri.removeprefix("file://") for call, uri in needs.items() if call in snippet.text), "")
    run = subprocess.run(
        [sys.executable, "-c", snippet.text, argument], cwd=desk, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.strip()


def test_the_search_finds_what_it_should():
    texts = " ".join(s.text for s in COMMANDS)
    assert len(COMMANDS) > 40
    assert all(f"jobs {name}" in texts or f"jobs/{name}.py" in texts for name in job_names())
    assert json.dumps([s.page for s in PYTHON]).count("docs/") >= 3


def test_a_wrong_flag_is_noticed(monkeypatch):
    with pytest.raises(SystemExit):
        _job(["python", "jobs/encode.py", "--data", "x", "--model", "y", "--ouput", "z"], monkeypatch)
