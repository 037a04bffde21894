"""`python -m tests.flows.recorder FILE`: derive the provenance of all that has finished, and wait before the commit."""

import signal
import sys
from pathlib import Path

import django
from django.db import transaction

django.setup()

from execution import provenance  # noqa: E402 - Django first


def main():
    """Derive, say so, and wait to be killed."""
    with transaction.atomic():
        provenance.record_all()
        Path(sys.argv[1]).touch()
        signal.pause()


main()
