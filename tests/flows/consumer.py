"""`python -m tests.flows.consumer MODE FILE`: one pass of the stream that stops, or dies, where the mode says.

`before` and `after` stop before and after the evaluation has committed, and wait to be killed; `dies` dies in the
evaluation of what FILE names, as by an out-of-memory killer; `buries` dies between a dead letter and its
acknowledgement. Before it stops or dies it touches FILE.
"""

import os
import signal
import sys
from pathlib import Path

import django

django.setup()

from recovery import stream  # noqa: E402 - Django first
from tests.recovery.stream_rows import evaluate  # noqa: E402 - Django first

MODE, FILE = sys.argv[1], Path(sys.argv[2])


def stop(wanted, *, source, by):
    """Evaluate, or not yet, and wait."""
    if MODE == "after":
        evaluate(wanted, source=source, by=by)
    FILE.touch()
    signal.pause()


def die(wanted, *, source, by):
    """Evaluate all but one, at which this process dies."""
    poison = FILE.read_text()
    if poison in {str(one) for one in wanted}:
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate(wanted, source=source, by=by)


def die_burying(*_):
    """Die where the acknowledgement would come."""
    FILE.touch()
    os.kill(os.getpid(), signal.SIGKILL)


if MODE == "buries":
    stream.Consumer._acknowledge = die_burying
stream.work(evaluate=stop if MODE in {"before", "after"} else die if MODE == "dies" else evaluate)
