"""Handlers for tests: imported by a worker with -I, and by the attendant that its dispatcher starts."""

import os
import signal
import time
from pathlib import Path

from recovery.dispatcher import on


def note(event, name):
    """Write a line into the file that the event names for it."""
    with (Path(event.data["folder"]) / name).open("a") as lines:
        lines.write(f"{event.id} {os.getpid()}\n")


@on("tests.quick", name="tests.quick")
def quick(event):
    """Handle at once."""
    note(event, "quick")


@on("tests.quick", "tests.hanging", name="tests.hanging")
def hanging(event):
    """Hang for ever at some events, deaf to what Python could say."""
    note(event, "hanging")
    if event.kind == "tests.hanging":
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        while True:
            time.sleep(3600)


@on("tests.deadly", name="tests.deadly")
def deadly(event):
    """Die as by an out-of-memory killer at the first try; handle at the second."""
    note(event, "deadly")
    if event.try_number == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    note(event, "survived")


@on("tests.slow", name="tests.slow")
def slow(event):
    """Take so long that somebody can kill the whole worker meanwhile."""
    note(event, "slow")
    time.sleep(event.data.get("seconds", 0))
    note(event, "slow-done")


@on("tests.asking", name="tests.asking")
def asking(event):
    """Ask a person, twice."""
    note(event, f"chose-{event.ask('Which?')}-because-{event.ask('Why?')}")
