"""How a benchmark writes its result: a dated Markdown file with hardware, versions and the command."""

import datetime
import importlib.metadata
import os
import platform
import sys
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


def hardware() -> str:
    """Return cores and memory, as part of a file name."""
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"cpu{os.cpu_count()}-{gigabytes:.0f}gb"


def write_result(theme: str, title: str, body: str, packages: tuple[str, ...]) -> Path:
    """Write results/<theme>_<hardware>_<date>.md and print it."""
    today = datetime.datetime.now(datetime.UTC).date()
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in packages)
    head = (
        f"# {title}\n\n{today} · {os.cpu_count()} cores, {platform.machine()} · Python {platform.python_version()}, "
        f"{versions}\n\n    python {' '.join(Path(a).name if '/' in a else a for a in sys.argv)}\n\n"
    )
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{theme}_{hardware()}_{today}.md"
    path.write_text(head + body)
    print(head + body)
    return path
