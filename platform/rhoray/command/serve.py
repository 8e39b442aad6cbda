"""`rhoray serve`: the endpoint and its page on this machine, by Ray Serve."""

import argparse
import importlib
import json
import os
import socket
import sys
import time
from pathlib import Path

from ray import serve

import rhoray
from rhoray.command.terminal import bold, say
from rhoray.core.errors import ResourceError
from rhoray.pipeline.cluster import connect
from rhoray.registry.bundle import resolve

NAME = "rhoray"
PAUSE_S = 3600.0
# Read when Ray starts, and by the processes that it starts; serve/config.yaml says what for.
NODE = {
    "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": "serve.edge:middlewares",
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "4194304",
}


def run(args: argparse.Namespace) -> int:
    """Serve until Ctrl-C."""
    _reach_the_endpoint()
    for name, value in NODE.items():
        os.environ.setdefault(name, value)
    bundle = args.bundle if args.bundle == "pretrained:" else resolve(args.bundle)  # a wrong URI is said at once
    # The endpoint lies above this package, which no module of ours imports: only this command looks up.
    settings = importlib.import_module("serve.settings").ServeSettings(bundle=bundle)
    build = importlib.import_module("serve.app").build
    _refuse_a_taken_port(args.host, args.port)
    sys.stderr.write(f"starting Ray and {bundle}, which takes half a minute\n")
    with connect():
        serve.start(http_options={"host": args.host, "port": args.port})
        try:
            serve.run(build(settings), name=NAME, route_prefix="/")
            _say_where(args, bundle)
            while True:
                time.sleep(PAUSE_S)
        except KeyboardInterrupt:
            sys.stderr.write("stopping\n")
            return 0
        finally:
            serve.shutdown()


def _refuse_a_taken_port(host: str, port: int) -> None:
    """Serve would share the port with another Serve, and requests would go to either."""
    with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # what has just ended is no hindrance
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ResourceError(f"can't listen at {host}:{port} ({error.strerror}): give another --port") from error


def _say_where(args: argparse.Namespace, bundle: str) -> None:
    url = f"http://{'127.0.0.1' if args.host == '0.0.0.0' else args.host}:{args.port}"  # noqa: S104 - asked for
    if args.json:
        say(json.dumps({"url": url, "bundle": bundle}))
    else:
        say(f"{bold(url)} is ready: the page; {url}/docs: the routes; Ctrl-C ends it")
    sys.stdout.flush()


def _reach_the_endpoint() -> None:
    """In a checkout the endpoint lies beside the package, for this process and the replicas that it starts."""
    root = str(Path(rhoray.__file__).parents[2])
    if (Path(root) / "serve" / "app.py").is_file() and root not in sys.path:
        sys.path.append(root)
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), root]))
