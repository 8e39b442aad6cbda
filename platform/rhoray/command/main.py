# PYTHON_ARGCOMPLETE_OK
"""Read the command line and hand over to one module a command.

Only flags are known here: what a command needs is imported once it is chosen, so that `--help` and tab completion
answer at once.
"""

import importlib
import os
import sys
from collections.abc import Sequence

from rhoray.command.flags import build_parser
from rhoray.core.errors import RhoRayError


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 failed, 2 bad arguments."""
    words = list(sys.argv[1:] if argv is None else argv)
    parser = build_parser()
    if "_ARGCOMPLETE" in os.environ:
        importlib.import_module("argcomplete").autocomplete(parser)
    if words[:1] == ["jobs"] and words[1:] and not words[1].startswith("-"):
        # What follows a job's name are the flags of that job.
        known = parser.parse_args(words[:2])
        known.flags = words[2:]
    else:
        known = parser.parse_args(words)
    try:
        status = importlib.import_module(f"rhoray.command.{known.command}").run(known)
    except KeyboardInterrupt:
        sys.exit("interrupted")
    except BrokenPipeError:  # `rhoray … | head` has read enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)
    except (RhoRayError, OSError) as error:
        sys.exit(f"failed: {error}")
    if status:
        sys.exit(status)
