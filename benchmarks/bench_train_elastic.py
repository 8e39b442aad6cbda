"""Nodes are lost in the middle of training and no others come: does the rest go on with the same batches?

Three nodes of one CPU each on this machine, two workers. All but the head are killed after the first epoch; the curve
must be that of an undisturbed run, to rounding, for the batches are the same whatever the number of workers.
"""

import json
import os
import tempfile
import threading
import time
from dataclasses import replace

import ray
import ray.data
from _results import write_result
from ray.cluster_utils import Cluster

from rhoray.core.storage import read_bytes
from rhoray.local.processes import descendants, title
from rhoray.models.autoencoder import AutoencoderConfig
from rhoray.pipeline.ingest import IngestConfig, ingest
from rhoray.train.autoencoder import train_autoencoder
from rhoray.train.recipes import Recipe, get_recipe

CRYSTALS = 48
PATIENCE_S = 120


def history(out: str) -> list[dict[str, float]]:
    """Return the finished epochs of a run."""
    try:
        return [json.loads(line) for line in read_bytes(f"{out}/metrics.jsonl").splitlines()]
    except FileNotFoundError:
        return []


def node_of_a_worker(cluster: Cluster) -> tuple[object, int]:
    """Return a node that is not the head's and runs a training worker, and how many workers there are."""
    workers = [pid for pid in descendants(os.getpid()) if "RayTrainWorker" in title(pid)]
    for node in list(cluster.worker_nodes):
        raylets = [info.process.pid for info in node.all_processes["raylet"]]
        if any(pid in descendants(raylet) for raylet in raylets for pid in workers):
            return node, len(workers)
    raise RuntimeError("no worker outside the head")


def disturbed(cluster: Cluster, data: str, out: str, recipe: Recipe) -> tuple[float, int]:
    """Train, kill a worker's node after the first epoch; return the seconds until the next epoch, and the workers."""
    done: list[dict] = []
    thread = threading.Thread(target=lambda: done.append(train_autoencoder(data, out, recipe, workers=2)))
    thread.start()
    deadline = time.monotonic() + PATIENCE_S
    while not history(out) and time.monotonic() < deadline:
        time.sleep(0.1)
    node, workers = node_of_a_worker(cluster)
    before = len(history(out))
    for lost_node in [node, *(other for other in cluster.worker_nodes if other is not node)]:
        cluster.remove_node(lost_node, allow_graceful=False)
    lost = time.monotonic()
    while len(history(out)) == before and time.monotonic() < lost + PATIENCE_S:
        time.sleep(0.1)
    seconds = time.monotonic() - lost
    left = sum("RayTrainWorker" in title(pid) for pid in descendants(os.getpid()))
    print(f"{workers} workers before, {left} after, {seconds:.0f} s", flush=True)
    thread.join()
    assert done, "training failed"
    return seconds, left


def main() -> None:
    """Measure and write the result."""
    os.environ["RAY_AUTH_MODE"] = "disabled"
    recipe = replace(
        get_recipe("patch", epochs=4),
        network=AutoencoderConfig(width=8, depth=1),
        checkpoint_seconds=2.0,
        basis_crystals=4,
    )
    with tempfile.TemporaryDirectory() as folder:
        cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
        try:
            for _ in range(2):
                cluster.add_node(num_cpus=1)
            ray.init(address=cluster.address, logging_level="ERROR")
            ray.data.DataContext.get_current().enable_progress_bars = False
            ingest(IngestConfig(source="sample:", out=f"{folder}/data", limit=CRYSTALS))
            train_autoencoder(f"{folder}/data", f"{folder}/quiet", recipe, workers=2)
            seconds, left = disturbed(cluster, f"{folder}/data", f"{folder}/lost", recipe)
            quiet, lost = (history(f"{folder}/{name}") for name in ("quiet", "lost"))
        finally:
            ray.shutdown()
            cluster.shutdown()
    rows = [
        f"| {int(a['epoch'])} | {a['train_loss']:.8f} | {b['train_loss']:.8f} | {a['val_density_error_median']:.8f} | "
        f"{b['val_density_error_median']:.8f} |"
        for a, b in zip(quiet, lost, strict=True)
    ]
    head = (
        f"Two workers on three nodes of one CPU; all but the head killed after the first epoch. {seconds:.0f} s later "
        f"another epoch was finished, by {left} worker{'s' * (left > 1)}."
    )
    columns = "| epoch | train loss, undisturbed | nodes lost | val density error, undisturbed | nodes lost |"
    lines = [head, "", columns, "| --- | --- | --- | --- | --- |", *rows, ""]
    write_result("train-elastic", "Lost nodes", "\n".join(lines), ("ray", "torch"))


if __name__ == "__main__":
    main()
