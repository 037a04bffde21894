"""An autoscaler that looks at the ledger's backlog: `worker_autoscaler = "execution.autoscale:BacklogAutoscaler"`.

Celery's own counts the messages that a worker has reserved, and a doorbell keeps those few. This one grows the pool
while more steps are ready than CELERIAC["autoscale_up"] per live pool process on all hosts, and shrinks it below
CELERIAC["autoscale_down"], between the two numbers of `--autoscale`. The figures are its keeper's, read from the
board: the worker's main process opens no connection that its children could inherit.
"""

from __future__ import annotations

import math
from time import monotonic
from typing import Any

from celery.worker import state
from celery.worker.autoscale import Autoscaler

from execution import board as boards
from execution import conf


class BacklogAutoscaler(Autoscaler):
    """Scales by ready steps per live pool process."""

    keepalive: float

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        # Looking costs nothing and is done every second; Celery's keepalive is the quiet time before shrinking.
        self._quiet_seconds: float = self.keepalive
        self.keepalive = 1.0
        self._quiet_since = monotonic()

    def scale_up(self, n: int) -> Any:
        """Grow now."""
        self._quiet_since = monotonic()
        return super().scale_up(n)

    def scale_down(self, n: int) -> Any:
        """Shrink, once the pool has not grown for a while; the one before must be gone, or it would be chosen again."""
        if monotonic() - self._quiet_since <= self._quiet_seconds:
            return None
        if len(self.pool.info.get("processes", ())) > self.processes:
            return self.pool.maintain_pool()
        return self._shrink(n)

    @property
    def qty(self) -> int:
        """How many processes this pool should have."""
        board = boards.current()
        processes = int(self.processes)
        if board is None:
            return len(state.reserved_requests)
        ready, everywhere = board.figures
        return wanted(processes, ready=ready, everywhere=max(everywhere, processes), busy=len(state.active_requests))


def wanted(processes: int, *, ready: int, everywhere: int, busy: int) -> int:
    """Return how many processes a pool should have: more above one threshold, fewer below the other.

    Never fewer than are busy. Every host sees the same backlog: each grows by its share of what is missing.
    """
    settings = conf.current()
    if ready > settings.autoscale_up * everywhere:
        missing = math.ceil(ready / settings.autoscale_up) - everywhere
        return processes + max(1, math.ceil(missing * processes / everywhere))
    if ready < settings.autoscale_down * everywhere:
        return max(busy, processes - 1)
    return processes
