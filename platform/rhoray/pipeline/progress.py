"""One progress bar for every job: on a terminal it moves, in a log it speaks now and then."""

import os
import sys

from tqdm import tqdm

LOG_EVERY_S = 10.0
COLUMNS = 80


def progress_bar(total: int | None, label: str, unit: str, *, hidden: bool = False) -> tqdm:
    """Return a bar on standard error."""
    live = sys.stderr.isatty()
    follows = live and _columns() > 0
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        mininterval=0.2 if live else LOG_EVERY_S,
        dynamic_ncols=follows,
        file=sys.stderr,
        ncols=None if follows else COLUMNS,
        disable=hidden,
    )


def _columns() -> int:
    """Return the terminal's width; 0 where it has none, as in some containers and editors."""
    try:
        return os.get_terminal_size(sys.stderr.fileno()).columns
    except OSError:
        return 0
