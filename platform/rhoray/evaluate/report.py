"""The report of a bundle on crystals it has not seen: a table of metrics, parity plots, errors by crystal system."""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from rhoray.core.targets import get_target
from rhoray.evaluate.metrics import coverage, regression_metrics
from rhoray.evaluate.plots import parity_figure


@dataclass(frozen=True, slots=True)
class Report:
    """What evaluate writes.

    Attributes:
        metrics: target to r2, mae, rmse, n, coverage_90 and errors by crystal system.
        markdown: the same for a reader.
        plots: file name to PNG.
    """

    metrics: dict[str, dict]
    markdown: str
    plots: dict[str, bytes]


def build_report(table: pd.DataFrame, targets: list[str], title: str) -> Report:
    """Judge predictions against labels.

    Args:
        table: material_id, crystal_system, and for each target <target>, _lower, _upper, _reference.
        targets: which to judge; those with less than two predictions that have a reference are left out.
        title: of the report.
    """
    metrics: dict[str, dict] = {}
    plots: dict[str, bytes] = {}
    for name in targets:
        reference = f"{name}_reference"
        if reference not in table:
            continue
        known = table[table[reference].notna() & table[name].notna()]
        if len(known) < 2:
            continue
        metrics[name] = _judge(known, name)
        plots[f"parity_{name}.png"] = _parity(known, name)
    return Report(metrics, _markdown(metrics, title), plots)


def _judge(known: pd.DataFrame, name: str) -> dict:
    expected, found = known[f"{name}_reference"].to_numpy(float), known[name].to_numpy(float)
    lower, upper = known[f"{name}_lower"].to_numpy(float), known[f"{name}_upper"].to_numpy(float)
    errors = np.abs(expected - found)
    by_system = {
        str(system): {"mae": float(errors[rows].mean()), "n": len(rows)}
        for system, rows in known.reset_index(drop=True).groupby("crystal_system").groups.items()
    }
    return {
        "unit": get_target(name).unit,
        **regression_metrics(expected, found),
        "coverage_90": coverage(expected, lower, upper),
        "mae_by_crystal_system": by_system,
    }


def _parity(known: pd.DataFrame, name: str) -> bytes:
    target = get_target(name)
    found = known[name].to_numpy(float)
    return parity_figure(
        target.label,
        target.unit,
        known[f"{name}_reference"].to_numpy(float),
        found,
        (
            found - known[f"{name}_lower"].to_numpy(float),
            known[f"{name}_upper"].to_numpy(float) - found,
        ),
    )


def _markdown(metrics: dict[str, dict], title: str) -> str:
    lines = [
        f"# {title}", "",
        "| property | unit | crystals | R2 | MAE | RMSE | inside the 90 % interval |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]  # fmt: skip
    lines += [
        f"| {get_target(name).label} | {m['unit']} | {m['n']:.0f} | {m['r2']:.3f} | {m['mae']:.3g} "
        f"| {m['rmse']:.3g} | {100 * m['coverage_90']:.0f} % |"
        for name, m in metrics.items()
    ]
    systems = sorted({s for m in metrics.values() for s in m["mae_by_crystal_system"]})
    lines += ["", "Mean absolute error by crystal system (crystals):", ""]
    lines += ["| property | " + " | ".join(systems) + " |", "| --- " * (len(systems) + 1) + "|"]
    for name, m in metrics.items():
        cells = [m["mae_by_crystal_system"].get(s) for s in systems]
        shown = " | ".join(f"{c['mae']:.3g} ({c['n']})" if c else "" for c in cells)
        lines.append(f"| {get_target(name).label} ({m['unit']}) | {shown} |")
    return "\n".join(lines) + "\n"
