"""The servers beside the database, asked in the background: a page is never held up by one that is away.

One thread at a time asks the broker and Redis; a page takes the last answer, waits a moment for the first one, and says
so where there is none yet.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from execution.doctor import broker
from execution.doctor.findings import Finding, Look, error, made

FRESH_SECONDS = 5.0
PATIENCE_SECONDS = 0.15
"""How long a page waits for an answer that is on its way."""
SILENT_SECONDS = 4.0
"""How long an answer may be on its way before the servers are said to be silent."""

LOOKS: tuple[Look, ...] = (broker.reachable, broker.telemetry)


@dataclass(slots=True)
class Watch:
    """What was last heard, and whether somebody is asking."""

    looks: Callable[[], Iterable[Finding]]
    heard: list[Finding] = field(default_factory=list)
    heard_at: float = float("-inf")
    asked_at: float = float("-inf")
    is_asking: bool = False
    _changed: threading.Condition = field(default_factory=threading.Condition)

    def findings(self) -> list[Finding]:
        """Return what was last heard, and see to it that the next page hears what is newer than some seconds."""
        with self._changed:
            if not self.is_asking and time.monotonic() - self.heard_at > FRESH_SECONDS:
                self.is_asking, self.asked_at = True, time.monotonic()
                threading.Thread(target=self._ask, name="room-servers", daemon=True).start()
            if self.is_asking and not self.heard:
                self._changed.wait(PATIENCE_SECONDS)
            if self.is_asking and time.monotonic() - self.asked_at > SILENT_SECONDS:
                return [_silence(time.monotonic() - self.asked_at)]
            return list(self.heard)

    def forget(self) -> None:
        """Ask anew at the next look."""
        with self._changed:
            self.heard, self.heard_at = [], float("-inf")

    def _ask(self) -> None:
        heard = list(self.looks())
        with self._changed:
            self.heard, self.heard_at, self.is_asking = heard, time.monotonic(), False
            self._changed.notify_all()


def _silence(seconds: float) -> Finding:
    return error(
        "servers.silent",
        f"the broker or Redis has not answered for {seconds:.0f} seconds",
        "Look whether they are reachable: manage.py doctor",
    )


WATCH = Watch(looks=lambda: made(LOOKS))
