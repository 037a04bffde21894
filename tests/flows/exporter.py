"""`python -m tests.flows.exporter FOLDER [NIGHT]`: export one night, or night after night, each killed at a later point.

A point is a database statement or a change in the folder of exports. The process that is not killed any more notes its
number in FOLDER/survived.
"""

import os
import signal
import sys
from datetime import date, timedelta
from pathlib import Path

import django

django.setup()

from django.db import connection  # noqa: E402 - Django first

from recovery import exports, kept  # noqa: E402 - Django first

FIRST = date(2026, 1, 1)
LINES = [{"pattern": "timeout in fetch", "count": 12}, {"pattern": "no such key", "count": 3}]
_CHANGES = {"open", "os.rename", "os.remove", "os.mkdir"}


def night_of(number):
    """Return the night whose export is killed at this point."""
    return FIRST + timedelta(days=number)


def _export_until(number):
    """Export a night, or die before the so-manieth thing is done."""
    done = 0

    def count():
        nonlocal done
        done += 1
        if done == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def looked(event, arguments):
        if event in _CHANGES and str(arguments[0]).startswith(str(kept.folder())):
            count()

    def asked(execute, sql, parameters, many, context):
        count()
        return execute(sql, parameters, many, context)

    sys.addaudithook(looked)
    with connection.execute_wrapper(asked):
        exports.export_night(night_of(number), LINES)


def main():
    """Kill one process after the other."""
    folder = Path(sys.argv[1])
    if len(sys.argv) > 2:
        exports.export_night(date.fromisoformat(sys.argv[2]), LINES)
        return
    for number in range(1, 200):
        child = os.fork()
        if not child:
            _export_until(number)
            os._exit(0)
        if os.waitpid(child, 0)[1] == 0:
            (folder / "survived.new").write_text(str(number))
            (folder / "survived.new").rename(folder / "survived")
            return


if __name__ == "__main__":
    main()
