"""Batch prediction: any source of ingest to one table, on Ray Data; the twin of the endpoint."""

import functools
import io
import json
import time
from dataclasses import asdict
from typing import Any

import pandas as pd
import ray.data
import torch

from rhoray.core.errors import InputRefused, RhoRayError, StorageDown
from rhoray.core.storage import normalise, write_bytes
from rhoray.inference.prediction import columns_of, material_of, table_columns
from rhoray.inference.predictor import Predictor
from rhoray.pipeline.cluster import for_small_results
from rhoray.pipeline.progress import progress_bar
from rhoray.registry.bundle import Bundle, load_bundle
from rhoray.sources.items import Item, fetch_item, is_compact, list_source, parse_item, refuse_repeated
from rhoray.store.codec import to_compact

MOST_ITEMS_PER_TASK = 32
TASKS_OF_A_SMALL_SOURCE = 8


@functools.lru_cache(maxsize=1)
def _predictor(uri: str) -> Predictor:
    """Load once per worker process; a version's folder never changes."""
    torch.set_num_threads(1)
    return Predictor.load(uri)


def predict_table(bundle: Bundle, source: str, *, only: set[str] | None = None) -> pd.DataFrame:
    """Return one row per input of a source, or of the material_ids in `only`.

    Columns: material_id, formula, <target>, <target>_lower, <target>_upper, in_domain, reason, density_kind, source,
    model, model_version; numbers with all their digits.
    What can't be read has a reason and no numbers.
    """
    items = tuple(item for item in list_source(source).items if only is None or item.material_id in only)
    refused = {uri: str(error) for uri, error in refuse_repeated(items).items()}
    size = min(MOST_ITEMS_PER_TASK, max(1, -(-len(items) // TASKS_OF_A_SMALL_SOURCE)))
    groups = [items[i : i + size] for i in range(0, len(items), size)]
    tasks = [{"items": json.dumps([asdict(item) for item in group])} for group in groups]
    dataset = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map(
        _predict_task, fn_kwargs={"bundle": bundle.uri, "refused": refused}
    )
    rows: dict[str, dict[str, Any]] = {}
    with progress_bar(len(items), "predict", "crystals") as bar:
        for row in for_small_results(dataset).iter_rows():
            if row["failure"]:
                raise StorageDown(row["failure"])
            for found in json.loads(row["rows"]):
                rows[found["source"]] = found
                bar.update()
    return pd.DataFrame([rows[item.uri] for item in items]).reindex(columns=table_columns(bundle.targets))


def _predict_task(row: dict[str, str], bundle: str, refused: dict[str, str]) -> dict[str, str]:
    items = [Item(**raw) for raw in json.loads(row["items"])]
    try:
        return {"rows": json.dumps([_predict_item(item, bundle, refused) for item in items]), "failure": ""}
    except StorageDown as error:  # told by value: an error that leaves Ray Data has lost its type
        return {"rows": "[]", "failure": str(error)}


def _predict_item(item: Item, bundle: str, refused: dict[str, str]) -> dict[str, Any]:
    out: dict[str, Any] = {"material_id": item.material_id, "source": item.uri}
    predictor = _predictor(bundle)
    try:
        if item.uri in refused:
            raise InputRefused(refused[item.uri])
        raw = fetch_item(item)
        density = parse_item(raw, name=item.name)
        density = density if is_compact(raw) else to_compact(density)
        prediction = predictor(density)
    except InputRefused as error:
        return {**out, "in_domain": False, "reason": str(error)}
    return out | columns_of(prediction, material_of(density), predictor.name, predictor.version)


def predict(bundle_uri: str, source: str, out: str) -> dict[str, Any]:
    """Predict every input of a source and write the table on the connected Ray.

    Returns:
        rows, failed, seconds, out, model.

    Raises:
        RhoRayError: `out` is neither .csv nor .parquet, or nothing is at the source.
    """
    started = time.monotonic()
    if not out.endswith((".csv", ".parquet")):
        raise RhoRayError(f"--out {out}: expected a name that ends in .csv or .parquet")
    bundle = load_bundle(bundle_uri)
    table = predict_table(bundle, source)
    if out.endswith(".csv"):
        content = table.to_csv(index=False).encode()
    else:
        buffer = io.BytesIO()
        table.to_parquet(buffer, index=False)
        content = buffer.getvalue()
    write_bytes(normalise(out), content)
    return {
        "rows": len(table),
        "failed": int(table[bundle.targets[0]].isna().sum()),
        "seconds": round(time.monotonic() - started, 2),
        "out": normalise(out),
        "model": {"name": bundle.card["name"], "version": bundle.card["version"]},
    }
