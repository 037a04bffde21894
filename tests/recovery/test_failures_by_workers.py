"""Intake beside real workers: what fails, dies and parks there is recognised as what it is."""

import pytest

from execution import runs
from execution.models import Attempt, Run
from recovery import failures
from recovery.models import FailureMatch
from tests import failure_skills as skills
from tests.hands import MARKS

pytestmark = [*MARKS, pytest.mark.timeout(180)]
LEASE = {"CELERIAC_LEASE_SECONDS": "3", "CELERIAC_HEARTBEAT_SECONDS": "1"}


def test_what_workers_do(workers, eventually, tmp_path, settings):
    """A skill that fails, one whose process dies, one whose worker is killed, and one that parks each leave their row."""
    settings.CELERIAC = settings.CELERIAC | {"lease_seconds": 3, "heartbeat_seconds": 1.0}
    hanging = skills.failing_hangs.start(gate=str(tmp_path / "hangs"))
    first = workers(skills="tests.failure_skills", concurrency=1, environment=LEASE)
    eventually((tmp_path / "hangs").exists, timeout=30)
    first.kill()
    workers(skills="tests.failure_skills", concurrency=1, environment=LEASE)
    failing = skills.failing_parse.start()
    dying = skills.failing_dies.start(gate=str(tmp_path / "dies"))
    parking = runs.start(skills.failing_spends, budget={"cost": "1.00"})
    wanted = {hanging.id: "completed", failing.id: "failed", dying.id: "completed", parking.id: "parked"}

    def states():
        return dict(Run.objects.filter(pk__in=wanted).values_list("id", "state"))

    eventually(lambda: states() == wanted, timeout=60, message="each run ends as it must")
    failures.take_in()
    rows = {row.run_id: row for row in FailureMatch.objects.all()}
    told = {key: (row.ending, row.error_type, row.is_final) for key, row in rows.items()}
    assert told == {
        hanging.id: ("lost", "WorkerLost", False),
        failing.id: ("failed", "tests.failure_skills.ParserError", True),
        dying.id: ("crashed", "WorkerLost", False),
        parking.id: ("parked", "parked:budget", True),
    }
    assert FailureMatch.objects.count() == 4
    attempts = set(Attempt.objects.exclude(ending="completed").values_list("id", flat=True))
    assert {row.attempt_id for row in rows.values()} == attempts
