"""Run for real what the documentation tells a reader to run on one machine, as printed; keep the transcripts.

    python run_docs.py --work DIR [--pages docs/how-to/index.md …] [--keep docs/transcripts]

`rhoray` and `python` are those of the environment that runs this. A page may use what the pages before it made, in
the order of PAGES. Its bucket is one of a local S3 server, and what only a reader has (CHGCARs, labels) is laid
out from the sample. What needs a cluster, a GPU, GPAW or the network is left out, and named as such; its flags are
checked by tests/docs/test_snippets.py.
"""

import argparse
import gzip
import importlib.util
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from rhoray.density.crystal import structure_of, volume_per_atom
from rhoray.density.vasp import write_chgcar
from rhoray.local.object_store import object_store
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from snippets import Snippet, snippets  # noqa: E402 - lies beside the pages

HOW_TO = ("index", "own-labels", "tune", "publish", "retrain", "own-bucket", "serve", "upgrade", "monitor")
PAGES = [ROOT / "docs" / "index.md", *(ROOT / "docs" / "how-to" / f"{name}.md" for name in HOW_TO)]
SHOWN = "mp-1138"
# A search wants 20 labelled crystals besides those kept for tests.
OWN = 60
BUCKET = "bucket"
START_S = 240.0
# How a command begins, and what it holds, that is not run here.
OTHERS = ("ray ", "serve ", "make ", "source ", "pip ", "python3 -m venv")
LEFT_OUT = ("--gpu", "my-cifs")
ONLY_WITH_GPAW = "compute_density"
# As printed it stands for the version that the reader's own `publish` wrote.
VERSION = "20261126-07f921ca"
LONGEST_LINE = 200
LAID_OUT = f"""`CHGCAR` and `crystal.cif` are LiF; `chgcars/` holds {OWN} crystals of the packaged sample and a file
that was cut; `labels.csv` has a column `band_gap` that holds, for want of band gaps, the atoms in 10 cubic Angstrom.
Progress bars and Ray's own log lines are left out, long lines cut."""
# A progress bar or what Ray logs about itself: neither is anything that a reader has to compare.
NOISE = re.compile(
    r"\d+%\||\| ?\d+/\d+ \[|\(\w+ pid=|^INFO \d{4}-|^\d{4}-\d\d-\d\d .*(INFO|WARNING) |^\[\d{4}-|^[╭├╰│]"
    r"|^View detailed results|^To visualize your results"
)


@dataclass
class Desk:
    """Where a reader sits.

    Attributes:
        folder: the working directory.
        environment: of every command.
        failed: what ended with another status than 0.
        ran: how many commands and snippets ran.
    """

    folder: Path
    environment: dict[str, str]
    failed: list[str] = field(default_factory=list)
    ran: int = 0

    def tidy(self, said: str) -> list[str]:
        """Return the lines of an output as they stay on a terminal, without this machine's paths."""
        places = {self.folder: "~/rhoray", ROOT: "~/checkout", sys.prefix: "~/.venv", Path.home(): "~"}
        for place, name in places.items():
            said = said.replace(str(place), name)
        kept = [line.rstrip() for line in said.splitlines() if line.strip() and not NOISE.search(line)]
        return [_cut(line) for line in kept]


def _cut(line: str) -> str:
    """Return a long line up to the last word that fits."""
    begun = line[:LONGEST_LINE]
    return line if line == begun else f"{begun.rpartition(' ')[0] or begun} …"


def main() -> None:
    """Run the snippets page by page; exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what they write")
    parser.add_argument("--pages", nargs="+", type=Path, default=PAGES)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="write a transcript of each page there")
    args = parser.parse_args()
    work = args.work.resolve()
    _lay_out(work)
    with object_store(work / "s3", BUCKET) as store:
        path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        desk = Desk(work, {**os.environ, **store.environment, "PATH": path, "RAY_AUTH_MODE": "disabled"})
        filesystem = store.filesystem()
        filesystem.put(str(work / "chgcars"), f"{BUCKET}/chgcars", recursive=True)
        for page in args.pages:
            lines = _page(page.resolve(), desk)
            if args.keep is not None:
                number = PAGES.index(page.resolve()) + 1
                name = "start" if number == 1 else "model" if page.stem == "index" else page.stem
                (args.keep / f"{number:02}-{name}.md").write_text("\n".join(lines))
            print("\n".join(lines), flush=True)
    print(f"{desk.ran} ran, {len(desk.failed)} failed", *desk.failed, sep="\n  ")
    sys.exit(not desk.ran or bool(desk.failed))


def _lay_out(work: Path) -> None:
    """Write CHGCARs, a CIF and a table of labels, as a reader has them."""
    if (work / "labels.csv").exists():
        return
    rows = sorted((row for uri in read_manifest(sample_uri()).shards for row in read_shard(uri)), key=_small)
    densities = {row["material_id"]: row_density(row) for row in rows}
    for folder in (work / "demo-output" / "chgcars", work / "chgcars"):
        folder.mkdir(parents=True, exist_ok=True)
    for name in list(densities)[:OWN]:
        (work / "chgcars" / f"{name}_CHGCAR.gz").write_bytes(gzip.compress(write_chgcar(densities[name]).encode()))
    (work / "chgcars" / "cut_CHGCAR").write_text(write_chgcar(densities[SHOWN])[:5000])
    (work / "CHGCAR").write_text(write_chgcar(densities[SHOWN]))
    shown = gzip.compress((work / "CHGCAR").read_bytes())
    (work / "demo-output" / "chgcars" / f"{SHOWN}_CHGCAR.gz").write_bytes(shown)
    structure_of(densities[SHOWN]).to(str(work / "crystal.cif"))
    (work / "jobs").symlink_to(ROOT / "jobs")
    # Nobody's band gaps are packaged. What stands in for them can be learned, too, and is no number of the sample's.
    own = {name: 10 / volume_per_atom(density) for name, density in list(densities.items())[:OWN]}
    pd.DataFrame({"material_id": own.keys(), "band_gap": own.values()}).to_csv(work / "labels.csv", index=False)


def _small(row: dict) -> tuple[int, str]:
    return len(row["species"]), row["material_id"]


def _page(page: Path, desk: Desk) -> list[str]:
    """Run a page; return its transcript."""
    text, found = page.read_text(), snippets(page)
    name = str(page.relative_to(ROOT))
    out = [f"# {text.partition(chr(10))[0].removeprefix('# ')}: transcript", ""]
    out += [
        f"What `{name}` says, run as printed on {time.strftime('%Y-%m-%d')} by `benchmarks/run_docs.py`.",
        LAID_OUT,
        "",
    ]
    out += ["```text"]
    with ExitStack() as stack:
        if any("http://" in s.text for s in found) and not any(s.text.startswith("rhoray serve") for s in found):
            stack.enter_context(_serving(Snippet(name, "bash", "rhoray serve"), desk, out))
        for snippet in found:
            if _is_left_out(snippet):
                out += [f"# left out: {snippet.text}" if snippet.language == "bash" else "# left out: Python", ""]
            elif snippet.text.startswith("export "):
                out += [f"$ {snippet.text}", "# here: of a local S3 server", ""]
            elif snippet.text.startswith("rhoray serve"):
                stack.enter_context(_serving(snippet, desk, out))
            else:
                _run(snippet, desk, out)
    return [*out, "```", ""]


def _is_left_out(snippet: Snippet) -> bool:
    if snippet.language != "bash":
        return False
    without_gpaw = ONLY_WITH_GPAW in snippet.text and importlib.util.find_spec("gpaw") is None
    return without_gpaw or snippet.text.startswith(OTHERS) or any(part in snippet.text for part in LEFT_OUT)


def _typed(text: str, desk: Desk) -> str:
    """Return what a reader types: a version is that of his own bundle."""
    latest = desk.folder / "data/bundles/mine/LATEST"
    return text.replace(VERSION, latest.read_text().strip()) if latest.exists() else text


def _run(snippet: Snippet, desk: Desk, out: list[str]) -> None:
    """Run one command or one piece of Python, and add it with what it says."""
    typed = _typed(snippet.text, desk)
    if snippet.language == "python":
        # What a page reads from sys.argv is the manifest of the dataset it has just spoken of.
        command = [sys.executable, "-c", typed, "s3://bucket/densities/mine/manifest.parquet"]
        out += [f">>> {line}" if line else ">>>" for line in typed.splitlines()]
    else:
        command = ["/bin/bash", "-c", typed]
        out += [f"$ {typed}"]
    run = subprocess.run(
        command, cwd=desk.folder, env=desk.environment, check=False, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    desk.ran += 1
    out += [*desk.tidy(run.stdout), f"# exit status {run.returncode}", ""]
    if run.returncode:
        desk.failed.append(f"{snippet.page}: {typed}")


@contextmanager
def _serving(snippet: Snippet, desk: Desk, out: list[str]) -> Iterator[None]:
    """Serve inside the block as a reader does in another terminal; Ctrl-C ends it."""
    typed = _typed(snippet.text, desk)
    out += [f"$ {typed}   # in a terminal of its own"]
    with (desk.folder / "serve.log").open("w+") as log:
        process = subprocess.Popen(
            ["/bin/bash", "-c", f"exec {typed}"], cwd=desk.folder, env=desk.environment, stdout=log, stderr=log,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait(process, desk.folder / "serve.log")
            out += [*desk.tidy((desk.folder / "serve.log").read_text()), ""]
            before = (desk.folder / "serve.log").stat().st_size
            yield
        finally:
            process.send_signal(signal.SIGINT)
            status = process.wait(60)
            said = (desk.folder / "serve.log").read_text()[before:]
            desk.ran += 1
            out += ["^C", *desk.tidy(said), f"# exit status {status}", ""]
            if status:
                desk.failed.append(f"{snippet.page}: {typed}")


def _wait(process: subprocess.Popen, log: Path) -> None:
    deadline = time.monotonic() + START_S
    while "is ready" not in log.read_text():
        if process.poll() is not None or time.monotonic() > deadline:
            sys.exit(f"rhoray serve did not get ready:\n{log.read_text()[-2000:]}")
        time.sleep(0.5)


if __name__ == "__main__":
    main()
