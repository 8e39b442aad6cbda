"""Reach Ray: the cluster that RAY_ADDRESS or `ray job submit` names, else a local one that ends with the job."""

import contextlib
import json
import logging
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import ray
import ray.data
from ray.data import DataContext

import rhoray
from rhoray.core.environment import variables
from rhoray.core.errors import ResourceError

# What a worker needs to reach the same bucket as the driver. On a cluster with roles none of them is set.
FORWARDED = (
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "RHORAY_MP_ENDPOINT_URL",
)
# Set where every node has RhoRay of the driver's version, from a wheel or an image: then nothing is shipped.
INSTALLED_VARIABLE = "RHORAY_INSTALLED"
NO_PROGRESS_TIMEOUT_S = 300
# A task that fetches a gigabyte through a slow line, or waits for a storage that comes back, is no stall.
TASK_PATIENCE_S = 3600.0
BLOCK_BYTES = 32 * 2**20
STATE_API_VARIABLE = "RAY_API_SERVER_ADDRESS"
# Nothing listens at this port, so that who asks knows at once.
NO_STATE_API = "http://127.0.0.1:1"


@contextlib.contextmanager
def connect(cpus: int | None = None) -> Iterator[None]:
    """Be connected to Ray inside the block; a cluster is left running, a local Ray is not.

    Args:
        cpus: of a local Ray; all of the machine's when None. A cluster has what it has.

    Raises:
        ResourceError: a node has another RhoRay than this process, or none, and is to use its own.
    """
    if ray.is_initialized():
        yield
        return
    on_cluster = bool(os.environ.get("RAY_ADDRESS"))
    if not on_cluster:
        # A Ray of our own hears this machine only, so it asks for no token and leaves none in the user's home,
        # where a later `ray start` would find it.
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
        # Without a dashboard one of Ray's own actors complains every second that it can't ask it.
        os.environ.setdefault("RAY_LOGGER_LEVEL", "error")
        # Nobody takes this machine away from us. Each of Ray's actors costs 1 % of a core, whatever it does.
        os.environ.setdefault("RAY_TRAIN_ENABLE_PREEMPTION_WATCHER", "0")
    with contextlib.nullcontext() if on_cluster else state_api(NO_STATE_API):
        ray.init(
            # Without an address Ray would join any cluster that runs on this machine.
            address=os.environ.get("RAY_ADDRESS") or "local",
            runtime_env=_runtime_env() if on_cluster else {},
            logging_level=logging.WARNING,
            **({} if on_cluster else {"num_cpus": cpus, "include_dashboard": False, "_node_ip_address": "127.0.0.1"}),
        )
    _configure_data()
    try:
        if on_cluster and os.environ.get(INSTALLED_VARIABLE):
            _check_installed()
        yield
    finally:
        ray.shutdown()


def state_api(url: str) -> AbstractContextManager[None]:
    """Tell a Ray that is started inside the block where its actors find out how others of them are.

    Untold, they ask whatever Ray was last started on this machine by command, be it another one, or long gone: the
    actor that cleans up after training then takes its controller for dead, or keeps training from ending.

    Args:
        url: of the dashboard, or `NO_STATE_API` for a Ray without one.
    """
    return variables({STATE_API_VARIABLE: url})


def _runtime_env() -> dict:
    """Ship this very package to the workers, whatever is installed there, unless they are to use that."""
    # What `ray job submit --runtime-env` brought reaches every worker as it is; Ray refuses to have it said twice.
    brought = json.loads(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR") or "{}").get("runtime_env", {})
    names = [name for name in FORWARDED if name in os.environ and name not in brought.get("env_vars", {})]
    variables = {name: os.environ[name] for name in names}
    if os.environ.get(INSTALLED_VARIABLE):
        return {"env_vars": variables}
    package = Path(rhoray.__file__).parent
    # Ray hands a relative PYTHONPATH or a temporary one to jobs; modules of its own are what reaches every node.
    excluded = {} if "excludes" in brought else {"excludes": ["**/__pycache__"]}
    return {"py_modules": [str(package)], **excluded, "env_vars": variables}


def _check_installed() -> None:
    """Refuse a cluster whose nodes have no RhoRay or another one; nodes that are still to come are not asked."""
    # A lambda travels whole, so that it runs where the package is missing.
    asked = ray.remote(num_cpus=0)(lambda: __import__("rhoray").__version__)
    told = [
        (node["NodeManagerAddress"], asked.options(label_selector={"ray.io/node-id": node["NodeID"]}).remote())
        for node in ray.nodes()
        if node["Alive"]
    ]
    for address, answer in told:
        try:
            version = ray.get(answer)
        except ray.exceptions.RayTaskError as error:
            raise ResourceError(
                f"node {address} has no RhoRay ({error.cause}): install it, or unset {INSTALLED_VARIABLE}"
            ) from error
        if version != rhoray.__version__:
            raise ResourceError(
                f"node {address} has RhoRay {version}, expected {rhoray.__version__} as here: install that, or unset "
                f"{INSTALLED_VARIABLE}"
            )


def _configure_data() -> None:
    context = DataContext.get_current()
    context.enable_progress_bars = False  # a job shows one bar in its own words
    context.print_on_execution_start = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    context.target_max_block_size = BLOCK_BYTES
    # A pipeline that can't get a CPU should say so soon, not after Ray's 30 minutes.
    context.execution_no_progress_timeout_s = NO_PROGRESS_TIMEOUT_S


def for_small_results(dataset: ray.data.Dataset, patience_s: float = TASK_PATIENCE_S) -> ray.data.Dataset:
    """Let every free CPU take its next task at once, in a dataset whose tasks give back a few kB each.

    Ray Data paces tasks by a budget for the memory of their results. It starts with one task, asks again a second
    later, and leaves a CPU idle for 0.1 s after each task; and once results wait for the driver it falls back to one
    task at a time. Where results are tiny that buys nothing: what a running task takes is bounded by the CPUs and the
    memory that it reserves.

    Args:
        dataset: not yet run.
        patience_s: fail when no task has ended for so long, -1 never. Ray counts only finished results as progress.
    """
    dataset.context.execution_no_progress_timeout_s = patience_s
    dataset.context.op_resource_reservation_enabled = False
    dataset.context.downstream_capacity_backpressure_ratio = None
    return dataset


def hush_workers() -> None:
    """Keep Ray's word on every report and checkpoint out of the job's log; called in a worker."""
    # Some of Ray's loggers bear the name of a file, below nothing but the root.
    for name in (None, "ray.train", "ray.data"):
        logging.getLogger(name).setLevel(logging.WARNING)


def num_cpus() -> float:
    """Return the CPUs of the whole cluster."""
    return float(ray.cluster_resources().get("CPU", 0))


def most_memory_of_a_node() -> float | None:
    """Return the bytes that Ray can set aside for one task, None while no node is up."""
    return max((float(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"]), default=0) or None


def cpus_per_worker(workers: int) -> float:
    """Return how many CPUs each training worker may hold so that at least one is left to feed them.

    Raises:
        ResourceError: not even a tenth of a CPU is left for each.
    """
    if num_cpus() < 1:  # an autoscaling cluster whose nodes are still to come
        return 1.0
    free = num_cpus() - 1
    share = min(1.0, free / workers) if free > 0 else 0.5 / workers
    if share < 0.1:
        raise ResourceError(f"{workers} workers on {num_cpus():.0f} CPUs: expected at most {int(free * 10)} workers")
    return float(int(share)) if share >= 1 else round(share - 0.005, 2)
