"""A pytest plugin: the suite's apps make tasks of SkillTask, by Celery's documented `celery_parameters` fixture.

Between tests the suite purges the broker, so that what one test has left does not run in the next. A purged broker
loses nothing of the ledger's, which is the point of it; so what is left there is cancelled in the same moment.
"""

import django
import pytest
from celery.contrib.testing.manager import Manager

django.setup()
_wait_until_idle = Manager.wait_until_idle


@pytest.fixture(scope="session")
def celery_parameters():
    """Make every task of the suite durable."""
    return {"task_cls": "execution.skills:SkillTask"}


def wait_until_idle(self):
    """Cancel what is left in the ledger, then purge the broker and wait."""
    from execution import runs
    from execution.exceptions import RunEnded
    from execution.models import Run

    for run in Run.objects.unended():
        try:
            runs.cancel(run, by="suite", reason="revoked")
        except RunEnded:
            continue
    _wait_until_idle(self)


Manager.wait_until_idle = wait_until_idle
