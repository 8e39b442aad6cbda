"""Ports of this machine."""

import socket

HOST = "127.0.0.1"


def free_port(preferred: int = 0) -> int:
    """Return the preferred port if nobody listens there, else some free one."""
    with socket.socket() as probe:
        try:
            probe.bind((HOST, preferred))
        except OSError:
            probe.bind((HOST, 0))
        return int(probe.getsockname()[1])
