"""What a hostile sender does to the endpoint on a real Ray Serve: answers, seconds, memory of every process.

    python benchmarks/bench_serve_abuse.py

Bodies of 10 GB (chunked, declared, declared too short), compression bombs, and a hundred senders who never finish. A
health question and a prediction go on all the while.
"""

import argparse
import bz2
import gzip
import lzma
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from _results import write_result
from bench_serve import BOUNDARY, PACKAGES, Client, chgcar, densities, endpoint, form, memory

from serve.settings import MIB

BODY = 10 * 10**9
SLOW_SENDERS = 100
PART = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="CHGCAR"\r\n\r\n'.encode()


def connect(port: int, framing: str) -> socket.socket:
    """Open a request whose body is still to come."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=60)
    head = f"POST /v1/predict HTTP/1.1\r\nHost: bench\r\nContent-Type: multipart/form-data; boundary={BOUNDARY}\r\n"
    connection.sendall(f"{head}{framing}\r\n\r\n".encode())
    return connection


def send_endless(port: int, framing: str) -> str:
    """Send 10 GB, or as much as is taken; return the first line of the answer and how much was sent."""
    connection, block = connect(port, framing), bytes(MIB)
    wrap = (lambda data: b"%x\r\n%s\r\n" % (len(data), data)) if "chunked" in framing else bytes
    sent = 0
    try:
        connection.sendall(wrap(PART))
        while sent < BODY:
            connection.sendall(wrap(block))
            sent += len(block)
    except OSError:
        pass  # the other side has had enough
    try:
        first = connection.recv(MIB).split(b"\r\n")[0].decode()
    except OSError:
        first = "connection closed"
    connection.close()
    return f"{first or 'connection closed'}, after {sent / 1e6:.0f} MB"


def send_bomb(port: int, pack: Callable[[bytes], bytes]) -> str:
    """Send a stream that grows to 2 GB."""
    piece = pack(bytes(200 * MIB))
    body = form(piece * 10)
    status, content, _ = Client(port).post(body)
    return f"{status} {content[:60].decode('latin-1')}…, {len(body) / 1e6:.2f} MB sent"


def send_slowly(port: int, seconds: float) -> str:
    """Keep a hundred requests open that get a byte a second."""
    senders = [connect(port, "Content-Length: 100000") for _ in range(SLOW_SENDERS)]
    end = time.perf_counter() + seconds
    closed = 0
    while time.perf_counter() < end:
        for sender in senders:
            try:
                sender.sendall(b"x")
            except OSError:
                closed += 1
        time.sleep(1)
    for sender in senders:
        sender.close()
    return f"{SLOW_SENDERS} senders for {seconds:.0f} s"


@contextmanager
def watched(port: int, body: bytes) -> Iterator[dict[str, list]]:
    """Ask for health and a prediction every second meanwhile, and note memory."""
    seen: dict[str, list] = {"memory": [], "statuses": [], "seconds": []}
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(1.0):
            seen["memory"].append(memory())
            status, _, seconds = Client(port).post(body)
            seen["statuses"].append(status)
            seen["seconds"].append(seconds)

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield seen
    finally:
        stop.set()
        thread.join()


def main() -> None:
    """Attack, watch, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--slow", type=float, default=30.0, help="seconds of slow senders")
    args = parser.parse_args()
    good = form(chgcar(densities()[0], 40))
    lines = ["| what | answer | seconds | others meanwhile | slowest of them, s | highest growth of a process, MiB |"]
    lines.append("| --- " * 6 + "|")
    with endpoint() as port:
        Client(port).post(good)
        attacks: dict[str, Callable[[], str]] = {
            "10 GB, chunked": lambda: send_endless(port, "Transfer-Encoding: chunked"),
            "10 GB, declared": lambda: send_endless(port, f"Content-Length: {BODY}"),
            "10 GB, declared as 1 kB": lambda: send_endless(port, "Content-Length: 1000"),
            "gzip bomb": lambda: send_bomb(port, gzip.compress),
            "bzip2 bomb": lambda: send_bomb(port, bz2.compress),
            "xz bomb": lambda: send_bomb(port, lzma.compress),
            "slow senders": lambda: send_slowly(port, args.slow),
        }
        for name, attack in attacks.items():
            before, start = memory(), time.perf_counter()
            with watched(port, good) as seen:
                said = attack()
                seconds = time.perf_counter() - start
            growth = [m - before.get(p, m) for sample in [*seen["memory"], memory()] for p, m in sample.items()]
            others = f"{seen['statuses'].count(200)} of {len(seen['statuses'])} answered"
            slowest = max(seen["seconds"], default=0.0)
            lines.append(f"| {name} | {said} | {seconds:.1f} | {others} | {slowest:.2f} | {max(growth):.0f} |")
        status, _, seconds = Client(port).post(good)
    lines += ["", f"A prediction afterwards: {status} in {seconds:.2f} s.", ""]
    write_result("serve-abuse", "The endpoint under abuse", "\n".join(lines), PACKAGES)


if __name__ == "__main__":
    main()
