"""The report of a comparison of feature sets: one self-contained HTML page, the same as Markdown, and the numbers."""

import base64
import html
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from pymatgen.core import Composition
from sklearn.metrics import mean_absolute_error, r2_score

from rhoray.core.targets import Target, get_target
from rhoray.evaluate.metrics import regression_metrics
from rhoray.evaluate.plots import curve_figure, density_parity_figure
from rhoray.evaluate.statistics import Estimate, bootstrap, draws, paired

DUMMY = "dummy"
RANGES = 5
FEWEST = 5
STYLE = "body{font:15px sans-serif;margin:2em;max-width:75em}td,th{padding:.2em .7em;text-align:right}"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Out-of-fold predictions and what is known of the crystals.

    Attributes:
        predictions: material_id, target, scheme, repeat, features, share (of the training rows), expected, found.
        materials: material_id, formula, crystal_system.
        reference: the set of features that the others are compared with.
        about: one line for the reader.
        seed: of the bootstrap.
    """

    predictions: pd.DataFrame
    materials: pd.DataFrame
    reference: str
    about: str
    seed: int


@dataclass(frozen=True, slots=True)
class _Table:
    title: str
    head: list[str]
    rows: list[list[str]]


@dataclass(frozen=True, slots=True)
class _Picture:
    title: str
    content: bytes


def comparison_files(comparison: Comparison) -> tuple[dict[str, Any], dict[str, bytes]]:
    """Return metrics by target, scheme and features, and the files of the report by name."""
    metrics: dict[str, Any] = {}
    parts: list[_Table | _Picture] = []
    whole = comparison.predictions[comparison.predictions.share == 1]
    for (name, scheme), rows in whole.groupby(["target", "scheme"], sort=False):
        found = _judge(comparison, rows)
        metrics.setdefault(str(name), {})[str(scheme)] = found
        parts.append(_metrics_table(get_target(str(name)), str(scheme), found))
        if scheme == "random":
            parts += _details(comparison, get_target(str(name)), rows)
    buffer = io.BytesIO()
    comparison.predictions.to_parquet(buffer, index=False)
    files = {
        "metrics.json": json.dumps(metrics, indent=1).encode() + b"\n",
        "report.md": _markdown(comparison.about, parts).encode(),
        "report.html": _html(comparison.about, parts).encode(),
        "predictions.parquet": buffer.getvalue(),
    }
    return metrics, files


def mean_predictions(rows: pd.DataFrame) -> pd.DataFrame:
    """Return one row per set of features and crystal: the mean prediction over the repeats."""
    return rows.groupby(["features", "material_id"], as_index=False).agg(
        expected=("expected", "first"), found=("found", "mean")
    )


def _judge(comparison: Comparison, rows: pd.DataFrame) -> dict[str, Any]:
    """Return metrics with intervals of each set; those over repeats are means, as a single model would fare."""
    formula = comparison.materials.set_index("material_id").formula
    mean = mean_predictions(rows)
    wide = mean.pivot_table(index="material_id", columns="features", values="found")
    expected = mean.drop_duplicates("material_id").set_index("material_id").expected.loc[wide.index].to_numpy(float)
    samples = draws(formula.loc[wide.index].tolist(), comparison.seed)
    found: dict[str, Any] = {}
    for name in rows.features.unique():
        each = [
            regression_metrics(part.expected.to_numpy(float), part.found.to_numpy(float))
            for _, part in rows[rows.features == name].groupby("repeat")
        ]
        values = wide[name].to_numpy(float)
        found[name] = {
            **{key: float(np.mean([m[key] for m in each])) for key in each[0]},
            "mae_interval": _ends(bootstrap(mean_absolute_error, expected, values, samples)),
            "r2_interval": _ends(bootstrap(r2_score, expected, values, samples)),
        }
        if name != comparison.reference and comparison.reference in wide:
            against = paired(expected, values, wide[comparison.reference].to_numpy(float), samples)
            found[name]["against_reference"] = {
                "mae_change": against.change.value, "interval": _ends(against.change), "wilcoxon_p": against.p_value,
            }  # fmt: skip
    order = sorted(found, key=lambda name: -found[name]["mae"])
    return {name: found[name] for name in order}


def _ends(estimate: Estimate) -> list[float]:
    return [estimate.lower, estimate.upper]


def _metrics_table(target: Target, scheme: str, found: dict[str, Any]) -> _Table:
    folds = "random folds" if scheme == "random" else f"folds by {scheme.replace('_', ' ')}"
    unit = target.unit
    head = [
        "features",
        "R2 (95 %)",
        f"MAE {unit} (95 %)",
        f"RMSE {unit}",
        "R2 of log",
        "MAE of log10",
        "MAE to reference",
    ]
    rows = []
    for name, m in found.items():
        against = m.get("against_reference")
        change = "" if against is None else (
            f"{against['mae_change']:+.1%} ({against['interval'][0]:+.1%} to {against['interval'][1]:+.1%}), "
            f"p {against['wilcoxon_p']:.1g}"
        )  # fmt: skip
        rows.append([
            name,
            f"{m['r2']:.3f} ({m['r2_interval'][0]:.3f} to {m['r2_interval'][1]:.3f})",
            f"{m['mae']:.3g} ({m['mae_interval'][0]:.3g} to {m['mae_interval'][1]:.3g})",
            f"{m['rmse']:.3g}",
            f"{m['r2_log']:.3f}" if "r2_log" in m else "",
            f"{m['mae_log10']:.3f}" if "mae_log10" in m else "",
            change,
        ])  # fmt: skip
    return _Table(f"{target.label}, {folds}", head, rows)


def _details(comparison: Comparison, target: Target, rows: pd.DataFrame) -> Iterator[_Table | _Picture]:
    """Yield where the best set of features errs, its parity plot, and learning curves."""
    mean = mean_predictions(rows)
    errors = (mean.found - mean.expected).abs()
    best = errors.groupby(mean.features).mean().idxmin()
    one = mean[mean.features == best].merge(comparison.materials, on="material_id")
    one = one.assign(error=(one.found - one.expected).abs())
    yield _Picture(
        f"{target.label}: {best}, random folds",
        density_parity_figure(target.label, target.unit, one.expected.to_numpy(float), one.found.to_numpy(float)),
    )
    yield _by(target, "crystal system", one.crystal_system, one.error)
    ranges = pd.qcut(one.expected, RANGES, duplicates="drop").astype(str)
    yield _by(target, f"range of the {target.label} ({target.unit})", ranges, one.error)
    elements = one.formula.map(lambda f: [e.symbol for e in Composition(f).elements])
    each = one.assign(element=elements).explode("element")
    yield _by(target, "element", each.element, each.error)
    curves = _curves(comparison.predictions, target.name)
    if curves:
        yield _Picture(f"{target.label}: learning curves", curve_figure(target.label, target.unit, curves))


def _by(target: Target, what: str, keys: pd.Series, errors: pd.Series) -> _Table:
    found = errors.groupby(keys.to_numpy(), sort=False).agg(["mean", "size"])
    found = found[found["size"] >= FEWEST].sort_values("mean")
    rows = [[str(key), f"{row['mean']:.3g}", f"{row['size']:.0f}"] for key, row in found.iterrows()]
    return _Table(f"{target.label}: error by {what}", [what, f"MAE {target.unit}", "crystals"], rows)


def _curves(predictions: pd.DataFrame, target: str) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Return the share of the training rows and the error, of each set with more than one share."""
    rows = predictions[(predictions.target == target) & (predictions.scheme == "random") & (predictions.repeat == 0)]
    errors = (rows.found - rows.expected).abs().groupby([rows.features, rows.share]).mean()
    found = {}
    for name, part in errors.groupby(level=0):
        if len(part) > 1:
            found[str(name)] = (part.index.get_level_values(1).to_numpy(float), part.to_numpy(float))
    return found


def _markdown(about: str, parts: list[_Table | _Picture]) -> str:
    lines = ["# What each group of features adds", "", about, ""]
    for part in parts:
        if isinstance(part, _Table):
            lines += [f"## {part.title}", "", f"| {' | '.join(part.head)} |", "| --- " * len(part.head) + "|"]
            lines += [*(f"| {' | '.join(row)} |" for row in part.rows), ""]
    return "\n".join(lines)


def _html(about: str, parts: list[_Table | _Picture]) -> str:
    """Return a page that needs nothing but itself."""
    out = [f"<!doctype html><meta charset=utf-8><title>Features compared</title><style>{STYLE}</style>"]
    out.append(f"<h1>What each group of features adds</h1><p>{html.escape(about)}</p>")
    for part in parts:
        out.append(f"<h2>{html.escape(part.title)}</h2>")
        if isinstance(part, _Picture):
            out.append(f'<img src="data:image/png;base64,{base64.b64encode(part.content).decode()}">')
            continue
        rows = [("th", part.head), *(("td", row) for row in part.rows)]
        body = "".join(
            "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in row) + "</tr>" for tag, row in rows
        )
        out.append(f"<table>{body}</table>")
    return "\n".join(out) + "\n"
