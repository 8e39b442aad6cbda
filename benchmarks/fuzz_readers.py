"""Feed damaged CHGCAR, CHG and cube files to the readers: a density or a refusal must come out, soon, in little memory.

Anything else (another exception, more than 5 s of CPU, more than 4 GiB, a killed process) is a crash; its file is
written to --save, and the exit status is 1. The same --seed gives the same files.
"""

import argparse
import bz2
import gzip
import lzma
import multiprocessing
import resource
import signal
import sys
import time
import traceback
import warnings
from collections import Counter
from multiprocessing.connection import Connection
from pathlib import Path
from types import FrameType

import numpy as np
from _results import write_result
from mutations import mutated

from rhoray.core.errors import InputRefused
from rhoray.density.read import read_density

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))  # the seeds are the test suite's
from tests.broken_inputs import broken_inputs, whole_inputs  # noqa: E402

MOST_SECONDS = 5
MOST_MEMORY = 4 * 2**30
LIMIT = 2**26
LONGEST_SEED = 2**17
PACKERS = (
    lambda content, _: gzip.compress(content, 1),
    lambda content, _: bz2.compress(content, 1),
    lambda content, _: lzma.compress(content, preset=0),
)


class TooSlowError(Exception):
    """One file took more than MOST_SECONDS of CPU."""


def seeds() -> list[bytes]:
    """Return whole files, and broken ones as a start that is already odd."""
    whole = [kind.content for kind in whole_inputs().values()]
    odd = [kind.content for kind in broken_inputs().values() if len(kind.content) < LONGEST_SEED]
    return 4 * whole + odd


def outcome(content: bytes) -> str:
    """Return `density`, or the refusal's code and the first words of its reason.

    Raises:
        Exception: whatever else came; that is a finding.
    """
    try:
        density = read_density(content, limit=LIMIT)
    except InputRefused as refused:
        words = "".join(" " if c.isdigit() or c in "-+.*'" else c for c in str(refused)).split()
        return f"{refused.code}: {' '.join(words[:4])}"
    if not np.isfinite(density.values).all() or not 0 < density.n_electrons < np.inf:
        raise ValueError("a density that is none passed")
    return "density"


def _stop(_signal: int, _frame: FrameType | None) -> None:
    raise TooSlowError


def work(pipe: Connection, seed: int, seconds: float, save: Path) -> None:
    """Fuzz in a process with bounded memory and report counts, the slowest file's seconds and crashes."""
    resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY))
    signal.signal(signal.SIGPROF, _stop)
    warnings.simplefilter("error")
    rng, files = np.random.default_rng(seed), seeds()
    counts: Counter[str] = Counter()
    crashes: list[str] = []
    slowest, end = 0.0, time.monotonic() + seconds
    current = save / f"current-{seed}.bin"
    while time.monotonic() < end:
        content = mutated(files, PACKERS, rng)
        current.write_bytes(content)  # survives if the process does not
        started = time.process_time()
        signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
        try:
            counts[outcome(content)] += 1
        except Exception as error:  # noqa: BLE001
            place = traceback.extract_tb(error.__traceback__)[-1]
            kind = f"{type(error).__name__} in {place.name}: {str(error)[:80]}"
            counts[f"CRASH {kind}"] += 1
            if counts[f"CRASH {kind}"] == 1:
                path = save / f"crash-{seed}-{len(crashes)}.bin"
                path.write_bytes(content)
                crashes.append(f"{path}: {kind}")
                print(crashes[-1], flush=True)
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
        slowest = max(slowest, time.process_time() - started)
    current.unlink()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    pipe.send((counts, slowest, peak, crashes))


def main() -> int:
    """Fuzz, write the result, return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=1)
    parser.add_argument("--seed", type=int, nargs="+", default=[0], help="one run of --minutes for each")
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"), help="folder for files that crash")
    args = parser.parse_args()
    args.save.mkdir(parents=True, exist_ok=True)
    total: Counter[str] = Counter()
    lines, crashes = [], []
    for seed in args.seed:
        ours, theirs = multiprocessing.get_context("spawn").Pipe(duplex=False)
        child = multiprocessing.get_context("spawn").Process(
            target=work, args=(theirs, seed, 60 * args.minutes, args.save)
        )
        child.start()
        theirs.close()
        try:
            counts, slowest, peak, found = ours.recv()
        except EOFError:
            crashes.append(f"{args.save}/current-{seed}.bin: the process was killed")
            continue
        finally:
            child.join()
        total += counts
        crashes += found
        lines.append(f"| {seed} | {counts.total():,} | {counts['density']:,} | {slowest:.2f} | {peak:.0f} |")
    if not any(args.save.iterdir()):
        args.save.rmdir()
    head = "| seed | files | read as a density | slowest, CPU s | peak memory, MB |\n| --- | --- | --- | --- | --- |\n"
    often = "\n".join(f"| {name} | {count:,} |" for name, count in total.most_common(40))
    body = (
        f"{total.total():,} damaged files, {len(total)} distinct outcomes, {len(crashes)} crashes.\n\n{head}"
        + "\n".join(lines)
        + f"\n\nThe most frequent outcomes:\n\n| outcome | files |\n| --- | --- |\n{often}\n"
        + "".join(f"\n- {crash}" for crash in crashes)
    )
    write_result("fuzz", "Fuzzing the readers", body, ("numpy", "pymatgen"))
    return 1 if crashes else 0


if __name__ == "__main__":
    sys.exit(main())
