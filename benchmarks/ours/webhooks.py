"""What the figures of webhooks share: a receiver in a process of its own, endpoints at it, and events."""

import contextlib
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator

from benchmarks import command
from benchmarks.ours import project

AT_ONCE = 8


def open_for(load: command.Load) -> None:
    """Open the project, with eight deliveries at once, to addresses of this machine."""
    os.environ["CELERIAC_WEBHOOK_PRIVATE_ADDRESSES"] = "true"
    os.environ["CELERIAC_WEBHOOK_CONCURRENCY"] = str(AT_ONCE)
    project.open_for(load)
    from recovery.models import WebhookEndpoint

    WebhookEndpoint.objects.all().delete()


class Receiver:
    """The other process: what it has seen is asked over HTTP."""

    def __init__(self, port: int) -> None:
        """Know where it is."""
        self._address = f"http://127.0.0.1:{port}"

    def url(self, name: str) -> str:
        """Return an endpoint's address; one that begins with `hang` never answers."""
        return f"{self._address}/{name}"

    def seen(self) -> dict[str, list[float]]:
        """Return how long each event took to arrive, in milliseconds, by endpoint."""
        with urllib.request.urlopen(f"{self._address}/seen", timeout=30) as answer:  # noqa: S310 - our own
            found: dict[str, list[float]] = json.loads(answer.read())
        return found

    def count(self) -> int:
        """Return how many have arrived where somebody answers."""
        return sum(len(found) for name, found in self.seen().items() if not name.startswith("hang"))

    def wait_for(self, count: int, *, seconds: float) -> None:
        """Wait until so many have arrived."""
        ends_at = time.monotonic() + seconds
        while self.count() < count:
            if time.monotonic() > ends_at:
                raise RuntimeError(f"{self.count()} of {count} messages have arrived after {seconds:g} s")
            time.sleep(0.1)


@contextlib.contextmanager
def receiving() -> Iterator[Receiver]:
    """Have a receiver while the block lasts."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.ours.webhook_receiver", str(port)])
    try:
        for _ in range(200):
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield Receiver(port)
    finally:
        process.kill()
        process.wait()


def happen(count: int) -> None:
    """Write so many events, each with the time at which it was written."""
    from execution import ledger

    for _ in range(count):
        ledger.ask(
            "SELECT execution_log_v1('signal.bench', NULL, NULL, NULL, NULL, jsonb_build_object('at', %s::float8))",
            [time.time()],
        )
