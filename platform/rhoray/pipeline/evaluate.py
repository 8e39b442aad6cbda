"""Evaluate a bundle on the crystals of a dataset whose formulas it has never seen."""

import json
import time
from typing import Any

from rhoray.core.errors import DatasetError
from rhoray.core.storage import join, normalise, write_bytes
from rhoray.evaluate.report import build_report
from rhoray.pipeline.predict import predict_table
from rhoray.registry.bundle import load_bundle
from rhoray.store.manifest import read_manifest


def evaluate_bundle(bundle_uri: str, data: str, out: str) -> dict[str, Any]:
    """Predict, compare, and write metrics.json, report.md, predictions.csv and parity plots.

    Returns:
        metrics, evaluated, left_out (crystals the bundle has trained on), seconds, out.

    Raises:
        DatasetError: the bundle has seen every formula of the dataset, or nothing is labelled.
    """
    started = time.monotonic()
    out = normalise(out)
    bundle = load_bundle(bundle_uri)
    manifest = read_manifest(data)
    unseen = manifest.written[~manifest.written.formula.isin(bundle.formulas)]
    if not len(unseen):
        raise DatasetError(
            f"{data}: every formula in it was seen in training, by the bundle's regressors or by the encoder whose "
            "latents they read: nothing to judge it by; evaluate takes crystals that neither has seen"
        )
    found = predict_table(bundle, data, only=set(unseen.material_id))
    references = unseen[["material_id", "formula", "crystal_system", *manifest.labels]].rename(
        columns={name: f"{name}_reference" for name in manifest.labels}
    )
    table = references.merge(found.drop(columns="formula"), on="material_id", how="left", validate="one_to_one")
    title = f"{bundle.card['name']} {bundle.card['version']} on {len(unseen)} unseen crystals"
    report = build_report(table, bundle.targets, title)
    if not report.metrics:
        raise DatasetError(f"{data} has labels {manifest.labels}, expected some of {bundle.targets}")
    files = {
        "metrics.json": json.dumps(report.metrics, indent=1).encode() + b"\n",
        "report.md": report.markdown.encode(),
        "predictions.csv": table.to_csv(index=False).encode(),
        **report.plots,
    }
    for name, content in files.items():
        write_bytes(join(out, name), content)
    return {
        "metrics": report.metrics,
        "evaluated": len(unseen),
        "left_out": len(manifest.written) - len(unseen),
        "seconds": round(time.monotonic() - started, 2),
        "out": out,
    }
