"""What every job shares: the path to the package, one Ray, one last line of JSON, three exit codes.

`python jobs/NAME.py` and `ray job submit --working-dir . -- python jobs/NAME.py` run the same script; in the second
case nothing is installed, so the package is found next to this folder.
"""

import argparse
import json
import logging
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "platform"))

Main = Callable[[argparse.Namespace], dict[str, Any]]
# What a user has typed to come here, where it was not the script's own name: `rhoray jobs ingest`.
called_as: str | None = None


def parser(description: str, example: str) -> argparse.ArgumentParser:
    """Return a parser whose help shows an example."""
    if called_as is not None:
        example = f"{called_as} {example.partition('.py ')[2]}"
    return argparse.ArgumentParser(
        prog=called_as,
        description=description,
        epilog=f"example:\n  {example}\n\nURIs are paths, file:///… or s3://bucket/prefix (AWS_ENDPOINT_URL_S3, "
        "AWS_ACCESS_KEY_ID, … as usual).\nThe last line printed is one JSON object. "
        "Exit status: 0 done, 1 failed, 2 bad arguments.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )


def positive(text: str) -> int:
    """Read a whole number above zero."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number}, expected 1 or more")
    return number


def add_uris(p: argparse.ArgumentParser, **about: str) -> None:
    """Add a required flag for each URI that the job reads or writes: its name, and what lies there."""
    for name, text in about.items():
        p.add_argument(f"--{name}", required=True, metavar="URI", help=text)


def add_selection(p: argparse.ArgumentParser) -> None:
    """Add what all jobs that write a dataset of densities have."""
    p.add_argument("--limit", type=positive, metavar="N", help="take only the first N")
    p.add_argument("--overwrite", action="store_true", help="replace what is at --out, once all has succeeded")


def run(main: Main, args: argparse.Namespace, *, on_ray: bool = True) -> None:
    """Run a job to its end and exit with its status."""
    from rhoray.core.errors import RhoRayError

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s", stream=sys.stderr)
    for chatty in ("ray", "aiobotocore", "botocore", "matplotlib", "fsspec"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    if on_ray and not os.environ.get("RAY_ADDRESS"):
        print("starting Ray on this machine", file=sys.stderr, flush=True)
    try:
        summary = _on_ray(main, args) if on_ray else main(args)
    except KeyboardInterrupt:
        sys.exit("interrupted; run it again to go on from what was finished (with --resume where the job has it)")
    except RhoRayError as error:
        sys.exit(f"failed: {error}")
    except Exception as error:  # noqa: BLE001 - the last resort: one line for a user, the rest on request
        if os.environ.get("RHORAY_DEBUG"):
            traceback.print_exc()
        reason = str(error).strip().splitlines() or [""]
        if isinstance(error, ModuleNotFoundError):
            reason.append(f"{error} in {sys.executable}; activate the environment before `ray start`")
        sys.exit(f"failed: {type(error).__name__}: {reason[-1]} (RHORAY_DEBUG=1 shows where)")
    print(json.dumps(summary))


def _on_ray(main: Main, args: argparse.Namespace) -> dict[str, Any]:
    from rhoray.pipeline.cluster import connect

    with connect():
        return main(args)
