"""The flags of every job are part of the project's interface: this list changes only together with the docs."""

import re
import subprocess
import sys
import time

import pytest

# Required flags, then optional ones.
FLAGS = {
    "compute_density": ("--structures --out", "--accuracy --cpu-limit --limit --overwrite"),
    "ingest": ("--source --out", "--labels --store --limit --overwrite"),
    "train_ae": ("--data --out", "--recipe --frame --epochs --workers --gpu --seed --checkpoint-seconds --resume"),
    "encode": ("--data --model --out", ""),
    "tune_regressor": ("--latents --target --model --out", "--features --trials --resume"),
    "evaluate": ("--bundle --data --out", ""),
    "compare_features": ("--latents --target --out", "--folds --repeats"),
    "publish": ("--encoder --regressors --out", ""),
    "predict": ("--bundle --source --out", ""),
}
LONGEST_HELP_S = 5.0

BAD = [
    pytest.param("ingest", ["--source", "sample:"], "--out", id="missing"),
    pytest.param("ingest", ["--source", "sample:", "--out", "x", "--nonsense"], "--nonsense", id="unknown"),
    pytest.param("ingest", ["--sou", "sample:", "--out", "x"], "--source", id="abbreviated"),
    pytest.param("ingest", ["--source", "sample:", "--out", "x", "--store", "zip"], "--store", id="choice"),
    pytest.param(
        "compute_density", ["--structures", "x", "--out", "y", "--accuracy", "high"], "--accuracy", id="accuracy"
    ),
    pytest.param(
        "compute_density", ["--structures", "x", "--out", "y", "--cpu-limit", "0"], "--cpu-limit", id="cpu-limit"
    ),
    pytest.param("ingest", ["--source", "sample:", "--out", "x", "--limit", "many"], "--limit", id="number"),
    pytest.param("train_ae", ["--data", "x", "--out", "y", "--frame", "sphere"], "--frame", id="frame"),
    pytest.param("train_ae", ["--data", "x", "--out", "y", "--epochs"], "--epochs", id="no-value"),
    pytest.param("tune_regressor", ["--latents", "x", "--target", "y", "--out", "z"], "--model", id="no-model"),
    pytest.param(
        "tune_regressor",
        ["--latents", "x", "--target", "--model", "lightgbm", "--out", "z"],
        "--target",
        id="no-target",
    ),
    pytest.param("encode", ["stray", "--data", "x", "--model", "y", "--out", "z"], "stray", id="stray"),
    *(pytest.param(job, [], required.split()[0], id=f"{job}-nothing") for job, (required, _) in FLAGS.items()),
]


def run_job(root, cwd, job, *flags):
    command = [sys.executable, str(root / "jobs" / f"{job}.py"), *flags]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=60, check=False)


@pytest.fixture(scope="module")
def helps(root, tmp_path_factory) -> dict[str, str]:
    """The help of each job, as shown far from the repository."""
    cwd = tmp_path_factory.mktemp("cwd")
    runs = {job: run_job(root, cwd, job, "--help") for job in FLAGS}
    assert {job: run.returncode for job, run in runs.items()} == dict.fromkeys(FLAGS, 0)
    return {job: run.stdout for job, run in runs.items()}


@pytest.mark.parametrize("job", FLAGS)
def test_the_flags_are_the_promised_ones(helps, job):
    found = re.findall(r"^  (--[\w-]+)", helps[job], re.MULTILINE)
    assert set(found) == set(" ".join(FLAGS[job]).split())


@pytest.mark.parametrize("job", FLAGS)
def test_the_required_flags_are_the_promised_ones(helps, job):
    usage = helps[job].split("\n\n")[0]
    optional = re.findall(r"\[(--[\w-]+)", usage)
    assert set(optional) == set(FLAGS[job][1].split())


@pytest.mark.parametrize("job", FLAGS)
def test_the_help_shows_an_example_that_names_required_flags(helps, job):
    example = helps[job].partition("example:\n")[2].splitlines()[0]
    assert f"python jobs/{job}.py" in example
    assert set(FLAGS[job][0].split()) <= set(re.findall(r"--[\w-]+", example))


def test_help_is_quick(root, tmp_path):
    started = time.monotonic()
    run_job(root, tmp_path, "tune_regressor", "--help")
    assert time.monotonic() - started < LONGEST_HELP_S


@pytest.mark.parametrize(("job", "flags", "named"), BAD)
def test_bad_flags_exit_with_2_and_name_the_flag(root, tmp_path, job, flags, named):
    run = run_job(root, tmp_path, job, *flags)
    assert run.returncode == 2
    assert named in run.stderr.splitlines()[-1]
    assert "Traceback" not in run.stderr
    assert list(tmp_path.iterdir()) == []


def test_every_script_is_listed(root):
    scripts = {path.stem for path in (root / "jobs").glob("*.py") if not path.stem.startswith("_")}
    assert scripts == FLAGS.keys()
