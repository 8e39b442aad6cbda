"""Run for real what the documentation tells a reader to run on one machine; keep the transcript.

    python run_docs.py --work DIR [--pages docs/how-to/index.md …]

What needs a bucket, a cluster, a GPU or somebody else's data is listed as left out; tests/docs/test_snippets.py checks
its flags.
"""

import argparse
import gzip
import shlex
import subprocess
import sys
import time
from pathlib import Path
from typing import IO

from rhoray.density.crystal import structure_of
from rhoray.density.vasp import write_chgcar
from rhoray.sources.items import sample_uri
from rhoray.store.manifest import read_manifest
from rhoray.store.shards import read_shard, row_density

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "docs"))
from snippets import PAGES, Snippet, snippets  # noqa: E402 - lies beside the pages

SHOWN = "mp-1138"
LEFT_OUT = ("s3://", "--gpu", "--url", "rhoray serve", "http://", "-m venv")
# Inputs that only a reader has; what is learned from them comes after.
THEIRS = ("data/densities/mine", "data/latents/mine", "--source chgcars", "runs/ae-2", "my-cifs", "20261124-98c48fa4")


def main() -> None:
    """Run the snippets page by page; exit with 1 if one failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="folder for what they write")
    parser.add_argument("--pages", nargs="+", type=Path, default=PAGES)
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    _lay_out(args.work)
    failed: list[bool] = []
    with (args.work / "transcript.txt").open("a") as transcript:
        for page in args.pages:
            for snippet in snippets(page.resolve()):
                if snippet.language == "bash":
                    failed += _run(snippet, args.work, transcript)
    print(f"{len(failed)} ran, {sum(failed)} failed; {args.work / 'transcript.txt'}")
    sys.exit(not failed or any(failed))


def _lay_out(work: Path) -> None:
    """Write a CHGCAR and a CIF, as a reader has them."""
    if (work / "CHGCAR").exists():
        return
    manifest = read_manifest(sample_uri())
    rows = (row for uri in manifest.shards for row in read_shard(uri))
    density = row_density(next(row for row in rows if row["material_id"] == SHOWN))
    text = write_chgcar(density)
    (work / "CHGCAR").write_text(text)
    (work / "demo-output" / "chgcars").mkdir(parents=True, exist_ok=True)
    (work / "demo-output" / "chgcars" / f"{SHOWN}_CHGCAR.gz").write_bytes(gzip.compress(text.encode()))
    structure_of(density).to(str(work / "crystal.cif"))


def _run(snippet: Snippet, work: Path, transcript: IO[str]) -> list[bool]:
    """Run one command in `work`; return whether it failed, nothing where it was left out."""
    words = snippet.words
    if any(part in snippet.text for part in (*LEFT_OUT, *THEIRS)) or words[0] not in {"rhoray", "python"}:
        print(f"left out  {snippet.page}: {snippet.text}", file=transcript, flush=True)
        return []
    command = [sys.executable, "-m", "rhoray.command", *words[1:]] if words[0] == "rhoray" else _script(words)
    started = time.monotonic()
    shown = shlex.join(command) if "*" not in snippet.text else " ".join(command)
    run = subprocess.run(["/bin/sh", "-c", shown], cwd=work, capture_output=True, text=True, check=False)
    last = (run.stdout.strip() or run.stderr.strip()).splitlines()[-12:]
    mark = "ran" if run.returncode == 0 else f"FAILED ({run.returncode})"
    said = "\n    ".join(line[:200] for line in last)
    print(
        f"{mark} in {time.monotonic() - started:.1f} s  {snippet.page}\n  $ {snippet.text}\n    {said}\n",
        file=transcript,
        flush=True,
    )
    return [run.returncode != 0]


def _script(words: list[str]) -> list[str]:
    return [sys.executable, str(ROOT / words[1]), *words[2:]]


if __name__ == "__main__":
    main()
