"""Where the job scripts lie: in the wheel inside this package, in a checkout beside it."""

import ast
from pathlib import Path

import rhoray

# As they follow on each other; a job that is not named here comes last.
ORDER = (
    "ingest", "compute_density", "train_ae", "encode", "tune_regressor", "compare_features", "publish", "evaluate",
    "predict",
)  # fmt: skip


def jobs_folder() -> Path:
    """Return the folder of the scripts."""
    package = Path(rhoray.__file__).parent
    inside = package / "jobs"
    return inside if inside.is_dir() else package.parents[1] / "jobs"


def job_names() -> list[str]:
    """Return the names of all jobs in the order of the pipeline."""
    names = sorted(path.stem for path in jobs_folder().glob("[a-z]*.py"))
    return sorted(names, key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))


def job_summary(name: str) -> str:
    """Return what a job says of itself in one line."""
    text = ast.get_docstring(ast.parse((jobs_folder() / f"{name}.py").read_text())) or ""
    return text.partition("\n")[0]
