"""What the deployments have in common: how they scale, drain, are watched and replaced.

These are the defaults of one machine; serve/config.yaml sets them for a cluster, and the settings `min_replicas`,
`max_replicas`, `upscale_delay_s` and `downscale_delay_s` for a graph built in Python.
"""

from typing import Any

from serve.problems import RETRY_AFTER_SECONDS

OVERLOAD = {"status_code": 503, "retry_after_s": RETRY_AFTER_SECONDS}
# Longer than the longest answer takes by default (`request_timeout_s`).
DRAIN_SECONDS = 130.0

COMMON: dict[str, Any] = {
    "ray_actor_options": {"num_cpus": 0.1},
    "backpressure_config": OVERLOAD,
    # The ingress logs each request once (serve/middleware.py); Serve would add a line a stage.
    "logging_config": {"enable_access_log": False},
    # A dead process is found at the next check; a sound one proves itself by its work (serve/health.py).
    "health_check_period_s": 2.0,
    "health_check_timeout_s": 30.0,
    # An old replica takes nothing new and ends what it has.
    "graceful_shutdown_timeout_s": DRAIN_SECONDS,
    "graceful_shutdown_wait_loop_s": 0.5,
    # A new replica predicts the canary before an old one stops: a bundle that does not load never takes over.
    "max_surge_percent": 25,
}


def scaling(*, target: float, min_replicas: int = 1, max_replicas: int = 2) -> dict[str, Any]:
    """Return an autoscaling_config.

    Args:
        target: requests under way or waiting that one replica is meant to have.
        min_replicas: kept when nobody asks; two or more survive the loss of one without a pause.
        max_replicas: the most under load.
    """
    return {
        "min_replicas": min_replicas,
        "max_replicas": max_replicas,
        "target_ongoing_requests": target,
        "upscale_delay_s": 10.0,
        "downscale_delay_s": 300.0,
    }
