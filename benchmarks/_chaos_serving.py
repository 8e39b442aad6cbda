"""The endpoint on several nodes, one of which is lost while clients ask: the chaos benchmark's row on serving."""

import os
from collections import Counter
from typing import Any

import ray
from _cluster import ROOT, Nodes, family, nodes
from bench_serve_faults import APP, NODE, STAGES, Tally, full_strength, load, observe, settings, small_chgcars
from ray import serve
from ray._private.node import Node

from rhoray.client import Client
from rhoray.local.ports import free_port
from rhoray.local.processes import title
from serve.app import build

WHAT = "a node with replicas of the endpoint is lost"
NODES = 3
OBJECT_STORE = 200 * 2**20
FEWEST_ANSWERS = 20


def replicas(node: Node) -> Counter[str]:
    """Return how many replicas of each stage a node holds."""
    titles = [title(pid) for pid in family(node)]
    return Counter(stage for stage in STAGES for held in titles if f"ServeReplica:{APP}:{stage}" in held)


def lose_node() -> dict[str, Any]:
    """Serve two replicas a stage on three nodes, kill the fullest while clients ask; return the row of the table."""
    # Nobody ships a package to replicas: the nodes have it, as those of an image do.
    environment = {**NODE, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'platform'}"}
    with nodes(NODES, object_store_memory=OBJECT_STORE, **environment) as cluster:
        ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
        try:
            return _row(cluster)
        finally:
            serve.shutdown()
            ray.shutdown()


def _row(cluster: Nodes) -> dict[str, Any]:
    # One proxy: those of several nodes on one machine would want the same port.
    port = free_port()
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    serve.run(build(settings("pretrained:")), name=APP, route_prefix="/")
    url, files, tally = f"http://127.0.0.1:{port}", small_chgcars(4), Tally()
    alone = Client(url)
    expected = [tuple(p.value for p in alone.predict(content, "CHGCAR").properties) for content in files]
    held = {node: replicas(node) for node in cluster.cluster.worker_nodes}
    victim = max(held, key=lambda node: held[node].total())
    with load(url, files, tally):
        quiet = observe(url, tally, "none", lambda: None)
        seen = observe(url, tally, WHAT, lambda: cluster.kill(victim))
    wrong = sum(tuple(numbers) != expected[int(file)] for *_, (file, *numbers) in tally.answers)
    assert full_strength(url)
    assert len(tally.answers) > FEWEST_ANSWERS
    lost = f"{len(tally.answers)} answers, {len(tally.lost)} lost, {wrong} with another digit"
    times = (
        f"last try without an answer after {seen['last trouble']:.1f} s, longest gap {seen['gap']:.1f} s (undisturbed "
        f"{quiet['gap']:.1f} s), all replicas back after {seen['strong']:.1f} s"
    )
    return {
        "fault": "node-serving", "job": "endpoint", "exit": 0, "rerun": None, "difference": "",
        "seconds": seen["strong"], "undisturbed_s": 0.0, "said": "; ".join(tally.lost[:2]),
        "told": f"under load; it held {', '.join(f'{count} {stage}' for stage, count in held[victim].items())}",
        "outcome": f"{'LOST' if tally.lost or wrong else 'nothing lost'}: {lost}; {times}",
    }  # fmt: skip
