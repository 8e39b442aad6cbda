"""One progress bar for every job: on a terminal it moves, in a log it speaks now and then."""

import sys

from tqdm import tqdm

LOG_EVERY_S = 10.0


def progress_bar(total: int | None, label: str, unit: str) -> tqdm:
    """Return a bar on standard error."""
    live = sys.stderr.isatty()
    return tqdm(
        total=total,
        desc=label,
        unit=f" {unit}",
        mininterval=0.2 if live else LOG_EVERY_S,
        dynamic_ncols=live,
        file=sys.stderr,
        ncols=None if live else 80,
    )
