"""The story of the nightly aggregation."""

from contextlib import contextmanager
from datetime import timedelta

from django.utils import timezone

from execution import ledger
from recovery import aggregation, failures
from recovery.models import FailureMatch, FailureNight, FailurePattern
from tests import failure_skills as skills
from tests.flows import processes

_WAITS = (
    "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%UPDATE recovery_failurematch%%' AND wait_event_type = 'Lock'"
)


def arriving_in_mid_aggregation(stage):
    """13: failures arrive while a night is being aggregated, which is killed half-way; each is in a night, and in one."""
    stage.worker(skills="tests.failure_skills")
    _fail(stage, 3)
    with _held():
        killed = _aggregate(stage, 1)
        stage.eventually(_is_waiting, message="the aggregation is half-way")
        _fail(stage, 2)
        killed.kill()
    assert not FailurePattern.objects.exists(), "a night that was killed has changed nothing"
    assert not FailureNight.objects.exists()

    with _held():
        night = _aggregate(stage, 2)
        stage.eventually(_is_waiting, message="the aggregation is half-way")
        _fail(stage, 2)
        _fail(stage, 1, skill=skills.failing_busy)
    assert night.process.wait(30) == 0, (stage.folder / "night-2.log").read_text()
    pattern = FailurePattern.objects.get()
    assert (pattern.count, FailureMatch.objects.filter(pattern=None).count()) == (5, 3)

    _fail(stage, 1)
    assert FailurePattern.objects.get().count == 6, "what comes after the night is matched at once"
    other = aggregation.aggregate(timezone.localdate() - timedelta(days=1))
    assert (other.adopted_count, other.proposed_count) == (2, 0), "another night adopts what failed meanwhile"
    pattern.refresh_from_db()
    assert pattern.count == FailureMatch.objects.filter(pattern=pattern).count() == 8
    assert FailureMatch.objects.filter(pattern=None).count() == 1, "the other kind waits for its third"


def _fail(stage, count, skill=skills.failing_parse):
    """Let runs fail on a real worker, and take them in."""
    before = FailureMatch.objects.count()
    runs = [skill.start() for _ in range(count)]
    if skill is skills.failing_parse:
        assert stage.ended(*runs) == {"failed"}
    stage.eventually(lambda: failures.take_in() >= 0 and FailureMatch.objects.count() == before + count)


def _aggregate(stage, number):
    """Aggregate in a process of its own."""
    command = ("django", "patterns", "aggregate")
    return stage.keep(processes.Process(command, log=stage.folder / f"night-{number}.log"))


@contextmanager
def _held():
    """Hold a failure's row, so that a night stands still in the middle of giving it its pattern."""
    held = FailureMatch.objects.order_by("failed_at").values_list("pk", flat=True)[0]
    with ledger.connect("flow-13") as own, own.transaction():
        own.execute("SELECT 1 FROM recovery_failurematch WHERE id = %s FOR UPDATE", [held])
        yield


def _is_waiting():
    return bool(ledger.ask(_WAITS))


STORIES = {13: arriving_in_mid_aggregation}
