"""A worker that lacks a skill says so once, and the work waits for one that has it."""

import pytest

from execution import runs
from execution.models import Run
from tests import skills as _known  # noqa: F401 - registers them
from tests import workflow_skills as _unknown  # noqa: F401 - as above
from tests.conftest import wait_until

pytestmark = [pytest.mark.django_db(transaction=True)]


def test_worker_that_lacks_a_skill_says_it_once(workers):
    """Three rings for a skill that it has not imported are one line in words, no traceback and no failure."""
    worker = workers(skills="tests.skills", concurrency=1)
    opened = [runs.start("graphs.give", {"value": number}) for number in range(3)]
    known = runs.start("tests.add", {"left": 1, "right": 2})
    assert known.wait(timeout=20) == 3
    wait_until(lambda: "skill.unknown_here" in worker.log())
    told = worker.log()
    assert told.count("skill.unknown_here") == 1
    assert "'graphs.give'" in told or '"graphs.give"' in told
    assert "-I MODULE" in told
    assert "KeyError" not in told
    assert "Traceback" not in told
    assert set(Run.objects.filter(pk__in=[run.id for run in opened]).values_list("state", flat=True)) == {"pending"}
