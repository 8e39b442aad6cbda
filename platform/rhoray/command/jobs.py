"""`rhoray jobs`: list the jobs, or run one as `python jobs/NAME.py` would."""

import argparse
import importlib
import json
import runpy
import sys

from rhoray.command.job_scripts import job_names, job_summary, jobs_folder
from rhoray.command.terminal import bold, say


def run(args: argparse.Namespace) -> int:
    """List the jobs, or run the one that is named and exit with its status."""
    if args.name is not None:
        return _run(args.name, args.flags)
    if args.json:
        say(json.dumps({name: job_summary(name) for name in job_names()}))
        return 0
    width = max(map(len, job_names()))
    for name in job_names():
        say(f"  {bold(f'{name:<{width}}')}  {job_summary(name)}")
    say("\nFlags of one: rhoray jobs NAME --help")
    return 0


def _run(name: str, flags: list[str]) -> int:
    """Run a script in this process: its signals, output and exit status are the job's own."""
    folder = jobs_folder()
    script = str(folder / f"{name}.py")
    sys.argv = [script, *flags]
    sys.path.insert(0, str(folder))
    importlib.import_module("_job").__dict__["called_as"] = f"rhoray jobs {name}"
    runpy.run_path(script, run_name="__main__")
    return 0
