"""Metrics of the endpoint on Ray's Prometheus endpoint, where each name gets the prefix `ray_`.

Serve counts requests, errors and queue lengths of each deployment by itself (`ray_serve_*`). Here is what it can't
know: answers by route and status, which problem, seconds of each stage, sizes of batches, which bundle answered.
"""

from ray.util.metrics import Counter, Gauge, Histogram

from serve.messages import ModelId

SECONDS = [0.01, 0.025, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 120.0]
BATCHES = [1, 2, 4, 8, 16]


class RequestMetrics:
    """What an ingress replica counts."""

    def __init__(self) -> None:
        self._requests = Counter("rhoray_requests", "answers", ("route", "status"))
        self._latency = Histogram("rhoray_request_seconds", "from the first byte to the answer", SECONDS, ("route",))
        self._stages = Histogram("rhoray_stage_seconds", "seconds of each stage of an answer", SECONDS, ("stage",))
        self._problems = Counter("rhoray_problems", "problem documents by type, those in batches too", ("problem",))
        self._crystals = Counter("rhoray_predictions", "crystals predicted", ("model", "version", "in_domain"))
        self._under_way = Gauge("rhoray_requests_under_way", "requests that a replica works on")
        self._bytes = Gauge("rhoray_body_bytes", "bytes of uploads that a replica holds")

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count one answer."""
        self._requests.inc(1, {"route": route, "status": str(status)})
        self._latency.observe(seconds, {"route": route})

    def predicted(self, model: str, version: str, *, in_domain: bool, seconds: dict[str, float]) -> None:
        """Count one crystal with the seconds of its stages."""
        self._crystals.inc(1, {"model": model, "version": version, "in_domain": str(in_domain).lower()})
        for stage, value in seconds.items():
            self._stages.observe(value, {"stage": stage})

    def refused(self, problem: str) -> None:
        """Count one problem document by the last part of its type."""
        self._problems.inc(1, {"problem": problem})

    def load(self, requests: int, num_bytes: int) -> None:
        """Set how much is under way."""
        self._under_way.set(requests)
        self._bytes.set(num_bytes)


class BatchMetrics:
    """What a model replica counts."""

    def __init__(self, deployment: str, model: ModelId) -> None:
        self._tags = {"deployment": deployment, "model": model.name, "version": model.version}
        keys = tuple(self._tags)
        self._size = Histogram("rhoray_batch_size", "densities of one model call", BATCHES, keys)
        self._seconds = Histogram("rhoray_model_seconds", "seconds of one model call", SECONDS, keys)

    def called(self, size: int, seconds: float) -> None:
        """Count one model call."""
        self._size.observe(size, self._tags)
        self._seconds.observe(seconds, self._tags)
