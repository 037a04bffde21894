"""The drift cycle: each bucket shown once, one signal a change, across a restart, and nothing without the extra."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from execution.models import Assessment
from graduation import objectives
from graduation.models import DriftState, Objective, ObjectiveState
from graduation.observe import buckets, drifting
from graduation.observe.buckets import Minute
from tests.hands import MARKS

pytestmark = MARKS

DATA = Path(__file__).parent.parent.parent / "data" / "openslo"
HALF = timedelta(minutes=30)


@pytest.fixture
def declared(transactional_db):
    """Declare the objectives of the ledger, known up to now."""
    objectives.import_([DATA / "ledger.yaml"], by="ann")
    ObjectiveState.objects.update(data_at=timezone.now())


def base():
    """Return the beginning of the half hour that is not over."""
    return datetime.fromtimestamp((timezone.now() - drifting.GRACE).timestamp() // 1800 * 1800, tz=UTC)


def fill(name, since, until, *, bad=0, total=200, value=None):
    """Write a bucket for each half hour from so many ago to so many ago."""
    buckets.put(
        Minute(
            objective=name,
            at=base() - place * HALF,
            good=total - bad,
            total=total,
            sum_=None if value is None else value * total,
        )
        for place in range(since, until, -1)
    )


def signals(name="charges-succeed"):
    """Return the severities that were recorded for an objective, in order."""
    found = Assessment.objects.filter(kind="drift_signal", data__objective=name).order_by("id")
    return [(one.data["window"], one.data["severity"]) for one in found]


def test_rising_rate_is_told_once(declared):
    """A steady stream says nothing; one whose errors rise is a critical signal, once, with its figures."""
    fill("charges-succeed", 60, 20, bad=1)
    assert drifting.watch({}) == 40
    assert signals() == []
    assert drifting.watch({}) == 0
    fill("charges-succeed", 20, 0, bad=30)
    drifting.watch({})
    drifting.watch({})
    assert signals() == [("30m", "critical")]
    [found] = Assessment.objects.filter(kind="drift_signal")
    assert found.data["signals"][0]["after"] == pytest.approx(0.15)
    assert found.data["signals"][0]["e"] >= 1000
    assert found.subject == "skill:tests.add"


def test_state_goes_on_after_a_kill(declared, monkeypatch):
    """A pass that dies before its commit is done again as if it had not begun."""
    fill("charges-succeed", 60, 0, bad=30)

    def die(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(DriftState, "save", die)
        with pytest.raises(KeyboardInterrupt):
            drifting.watch({})
    assert signals() == []
    drifting.watch({})
    assert signals() == [("30m", "critical")]


def test_bucket_that_is_not_known_is_not_shown(declared):
    """Where the counts are known only up to some moment, what is later waits."""
    fill("charges-succeed", 10, 0, bad=1)
    ObjectiveState.objects.update(data_at=base() - 4 * HALF)
    assert drifting.watch({}) == 5
    ObjectiveState.objects.update(data_at=timezone.now())
    assert drifting.watch({}) == 5


def test_latency_that_shifts(declared):
    """A measured value that is well above what the same hour was is a signal of its own window."""
    fill("charges-are-quick", 28 * 48, 12, value=0.5)
    for _ in range(4):
        drifting.watch({})
    assert signals("charges-are-quick") == []
    fill("charges-are-quick", 12, 0, value=1.5)
    for _ in range(4):
        drifting.watch({})
    assert signals("charges-are-quick")[-1] == ("1h", "critical")


def test_shares_are_no_events(declared):
    """An objective whose share comes ready-made is left out: its counts are no events."""
    Objective.objects.update(origin="prometheus", indicator={"success": "x"})
    fill("charges-succeed", 20, 0, bad=100)
    assert drifting.watch({}) == 0


def test_without_the_extra(declared, monkeypatch):
    """Without scipy and river it says so once, and does nothing."""
    fill("charges-succeed", 20, 0, bad=100)
    monkeypatch.setattr(drifting, "find_spec", lambda name: None)
    state = {}
    assert (drifting.watch(state), drifting.watch(state)) == (0, 0)
    assert state == {"missing": ["scipy", "river"]}
    assert not DriftState.objects.exists()
