"""What 1,000 densities and a training run cost: measured CPU seconds times prices that you give.

    python benchmarks/cost_table.py --cpu-hour 0.048 --spot 0.4

Prices are inputs, not facts: list prices change, look yours up. The seconds are those measured in results/, on the
machine that each file names; another machine is slower or faster by some factor.
"""

import argparse
import re

from _results import RESULTS, write_result

DENSITIES = 1000


def number(theme: str, pattern: str) -> float:
    """Return a number from the latest result of a theme.

    Raises:
        LookupError: there is no such result, or it does not say that.
    """
    for path in sorted(RESULTS.glob(f"{theme}_*.md"), reverse=True):
        if match := re.search(pattern, path.read_text(), re.MULTILINE):
            return float(match[1])
    raise LookupError(f"{theme}: nothing like {pattern}")


def core_seconds() -> dict[str, float]:
    """Return CPU seconds of each step for DENSITIES densities, two cores taken as busy where wall time was measured."""
    files_per_second = number("ingest", r"^\| S3 \| ingest \| 2 \| [\d.]+ \| ([\d.]+)")
    volumes_per_second = number("train-patch", r"^\| two Ray Train workers[^|]*\| ([\d.]+)")
    return {
        "ingest, CHGCARs of 108^3 from S3": 2 * DENSITIES / files_per_second,
        "training, one epoch, recipe `patch`": 2 * DENSITIES / volumes_per_second,
        "prediction, from a CHGCAR": DENSITIES * number("cost", r"^\| median \|(?:[^|]*\|){3} ([\d.]+)"),
        "prediction, from a CIF": DENSITIES * number("cost", r"^\| median \|(?:[^|]*\|){4} ([\d.]+)"),
        "for comparison: one SCF each (GPAW)": DENSITIES * number("cost", r"^\| median \|(?:[^|]*\|){1} ([\d.]+)"),
        "for comparison: an elastic workflow each": DENSITIES * number("cost", r"^\| median \|(?:[^|]*\|){2} ([\d.]+)"),
    }


def table(cpu_hour: float, spot: float, epochs: int) -> str:
    """Return the table as Markdown.

    Args:
        cpu_hour: price of one vCPU for an hour, on demand.
        spot: price of a spot machine as a share of that, 0 to 1.
        epochs: of the training run.
    """
    steps = core_seconds()
    steps |= {f"a training run: {epochs} epochs": epochs * steps["training, one epoch, recipe `patch`"]}
    rows = [
        f"| {name} | {seconds:.0f} | {seconds / 3600 * cpu_hour:.4f} | {seconds / 3600 * cpu_hour * spot:.4f} |"
        for name, seconds in steps.items()
    ]
    return "\n".join(
        [
            f"{DENSITIES} densities; cost = CPU seconds / 3600 x price of a vCPU-hour. Inputs, yours to change:",
            f"{cpu_hour} a vCPU-hour on demand, spot at {spot:.0%} of it. Storage, traffic, idle time, head: extra.",
            "",
            "| step | CPU seconds | on demand | spot |",
            "| --- | --- | --- | --- |",
            *rows,
        ]
    )


def main() -> None:
    """Write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu-hour", type=float, default=0.05, help="price of a vCPU-hour on demand (default 0.05)")
    parser.add_argument("--spot", type=float, default=0.4, help="spot price as a share of that (default 0.4)")
    parser.add_argument("--epochs", type=int, default=30, help="of a training run (default 30)")
    args = parser.parse_args()
    write_result(
        "cost-table", "What it costs on a cluster", table(args.cpu_hour, args.spot, args.epochs) + "\n", ("numpy",)
    )


if __name__ == "__main__":
    main()
