"""What Flower and other monitors see of the steps that a pool process performs without a message of their own.

Celery's worker tells of messages: received, started, succeeded. Of a step that followed in the same process the process
itself tells, in the same words, while somebody listens (`-E`, or a monitor that asked for it). The hot path only puts a
line in a queue; a thread sends them in batches, and what cannot be sent is dropped: no step waits for a monitor.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import queue
import threading
import time
from typing import TYPE_CHECKING, Any

import structlog
from celery import bootsteps, current_app, signals
from celery.states import FAILURE, RETRY
from celery.utils.nodenames import gethostname
from celery.utils.saferepr import saferepr

if TYPE_CHECKING:
    from celery.app.trace import trace_ok_t

    from execution.ledger import Claim

log = structlog.get_logger(__name__)

GATHER_SECONDS = 0.2
MOST_WAITING = 10_000

# One byte that the main process writes and the forked pool processes read: whether somebody listens.
_listened = mmap.mmap(-1, 1)


class ListenedStep(bootsteps.StartStopStep):
    """The worker's side: notes once a second whether its dispatcher sends the events of tasks."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.entry: Any = None

    def start(self, consumer: Any) -> None:
        """Look now, and again every second: a monitor may ask at any time."""
        note(consumer)
        if self.entry is None and consumer.timer is not None:
            self.entry = consumer.timer.call_repeatedly(1.0, note, (consumer,))


def note(consumer: Any) -> None:
    """Write down whether the events of tasks are sent."""
    dispatcher = consumer.event_dispatcher
    listens = bool(dispatcher and dispatcher.enabled and (not dispatcher.groups or "task" in dispatcher.groups))
    _listened[0] = int(listens)


def is_listened() -> bool:
    """Tell whether somebody wants to see."""
    return _listened[0] != 0


def began(claim: Claim, message: dict[str, Any]) -> None:
    """Tell that a step was received and started, as if it had come by message."""
    if not is_listened():
        return
    canvas = claim.canvas or {}
    task_id = _task_id(claim)
    _tell(
        message,
        "task-received",
        uuid=task_id,
        name=claim.skill,
        args="…",
        kwargs="…",
        root_id=canvas.get("root_id") or task_id,
        parent_id=canvas.get("parent_id"),
        retries=claim.retry_count,
        eta=None,
        expires=None,
    )
    _tell(message, "task-started", uuid=task_id)


def ended(claim: Claim, message: dict[str, Any], result: trace_ok_t) -> bool:
    """Tell how a step ended, in the words of Celery's tracer; returns whether it was told."""
    if not is_listened():
        return False
    state = getattr(result.info, "state", None)
    if state is None:
        _tell(message, "task-succeeded", uuid=_task_id(claim), result=result.retstr, runtime=result.runtime)
    elif state in (FAILURE, RETRY):
        error = getattr(result.retval.exception, "exc", None) or result.retval.exception
        kind = "task-failed" if state == FAILURE else "task-retried"
        _tell(
            message,
            kind,
            uuid=_task_id(claim),
            exception=saferepr(error),
            traceback=str(result.retval.traceback),
        )
    return True


def _task_id(claim: Claim) -> str:
    return (claim.canvas or {}).get("task_id") or str(claim.step_id)


def _tell(message: dict[str, Any], kind: str, **fields: Any) -> None:
    _sender(message).put(kind, fields)


class Sender:
    """The thread that sends, one in a process."""

    def __init__(self, hostname: str) -> None:
        self.pid = os.getpid()
        self.hostname = hostname
        self.waiting: queue.SimpleQueue[tuple[str, dict[str, Any]] | None] = queue.SimpleQueue()
        self.dispatcher: Any = None
        self.thread = threading.Thread(target=self._send_always, name="celeriac-events", daemon=True)
        self.thread.start()

    def put(self, kind: str, fields: dict[str, Any]) -> None:
        """Leave a line for the thread."""
        if self.waiting.qsize() < MOST_WAITING:
            self.waiting.put((kind, {**fields, "timestamp": time.time()}))

    def close(self, timeout: float = 2.0) -> None:
        """Send what waits, and end."""
        self.waiting.put(None)
        self.thread.join(timeout)

    def _send_always(self) -> None:
        is_over = False
        while not is_over:
            lines = [self.waiting.get()]
            time.sleep(GATHER_SECONDS if lines[0] is not None else 0)
            while not self.waiting.empty():
                lines.append(self.waiting.get())
            is_over = None in lines
            try:
                self._send([line for line in lines if line is not None])
            except Exception as error:  # noqa: BLE001 - what cannot be shown is dropped; the work goes on
                log.debug("events.not_sent", error=repr(error), count=len(lines))
                self._forget()
        self._forget()

    def _send(self, lines: list[tuple[str, dict[str, Any]]]) -> None:
        if self.dispatcher is None:
            self.dispatcher = current_app.events.Dispatcher(
                current_app.connection_for_write(), hostname=self.hostname, buffer_group={"task"}, buffer_limit=500
            )
        for kind, fields in lines:
            self.dispatcher.send(kind, **fields)
        self.dispatcher.flush()

    def _forget(self) -> None:
        """Close the connection; the next batch opens another."""
        dispatcher, self.dispatcher = self.dispatcher, None
        if dispatcher is not None:
            with contextlib.suppress(Exception):
                dispatcher.connection.close()


_held: Sender | None = None
_lock = threading.Lock()


def _sender(message: dict[str, Any]) -> Sender:
    """Return this process's sender, made on first use; a forked child makes its own."""
    global _held  # noqa: PLW0603 - one a process
    if _held is None or _held.pid != os.getpid():
        with _lock:
            if _held is None or _held.pid != os.getpid():
                _held = Sender(message.get("hostname") or gethostname())
    return _held


@signals.worker_process_shutdown.connect(weak=False)
def _close(**_: Any) -> None:
    if _held is not None and _held.pid == os.getpid():
        _held.close()
