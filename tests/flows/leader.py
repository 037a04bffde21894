"""`python -m tests.flows.leader VERB FILE OPTIONS`: a leader that can be frozen and killed; it notes in a file what it is told.

`hold` takes a lock, extends it until that is refused, then tries to write and to release under its old token. `deliver`
leads the outbox whenever nobody does.
"""

import json
import sys
import time

import django
from django.conf import settings

django.setup()

from recovery import courier, locks, outbox  # noqa: E402 - Django first

NAME = "flows"


def main(verb, path, options):
    """Do it, noting each answer as a line of the file."""
    settings.CELERIAC = settings.CELERIAC | options

    def note(**facts):
        with open(path, "a") as notes:
            notes.write(json.dumps(facts) + "\n")

    VERBS[verb](note)


def hold(note):
    """Take the lock, extend it for as long as it is ours, and then try all that a stale holder may not do."""
    while not (lock := locks.acquire(NAME, ttl_seconds=1.5)):
        time.sleep(0.05)
    note(acquired=lock.token)
    while locks.extend(lock, ttl_seconds=1.5):
        time.sleep(0.05)
    note(refused=lock.token, released=locks.release(lock), extended=locks.extend(lock, ttl_seconds=60))


def deliver(note):
    """Lead the outbox, again and again."""
    note(begun=True)
    while True:
        note(ended=courier.lead())
        time.sleep(0.05)


def usurp(note):
    """Take the outbox's lock as soon as it can be had, and keep it, delivering nothing."""
    while not (lock := locks.acquire(outbox.LOCK, ttl_seconds=60)):
        time.sleep(0.05)
    note(acquired=lock.token)
    time.sleep(600)


VERBS = {"hold": hold, "deliver": deliver, "usurp": usurp}

if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], json.loads(sys.argv[3]))
