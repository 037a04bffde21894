"""Retention: what is old leaves graduation's tables, what is open or waits for a person stays."""

import uuid
from datetime import timedelta

import pytest
from django.utils import timezone

from execution import agents, events, ids
from graduation import retention
from graduation.models import (
    Case,
    Freeze,
    GateCall,
    Override,
    Recommendation,
    Retrospective,
    Sample,
    Score,
)
from tests.hands import MARKS

pytestmark = MARKS


def ago(days):
    """Return the moment so many days ago."""
    return timezone.now() - timedelta(days=days)


def old_id(days):
    """Return an id that was made so many days ago."""
    return uuid.UUID(int=events.first_id_at(ago(days)).int | ids.new().int & (2**80 - 1))


def case(days, state="resolved", **more):
    """Write a case."""
    look = {"look_at": timezone.now()} if state == "open" else {"look_at": None}
    about = {"kind": "k", "subject": "a:b", "judged_at": ago(days), "outcome": 1.0} | look
    return Case.objects.create(verdict_id=ids.new(), state=state, **about | more)


def test_age_decides(transactional_db):
    """Cases, scores and decided recommendations stay a year; samples, freezes, overrides and calls ninety days."""
    agent = agents.id_of(None)
    for days in (360, 370):
        case(days)
        Score.objects.create(id=old_id(days), step_id=ids.new(), agent_id=agent, evaluator="e", score=1)
        Recommendation.objects.create(retrospective_id=ids.new(), key="k", kind="k", text="t", state="declined", decided_at=ago(days))  # fmt: skip
        Retrospective.objects.create(source=f"incident:{days}", assessment_id=ids.new(), created_at=ago(days))
    for days in (80, 100):
        Sample.objects.create(step_id=ids.new(), agent_id=agent, skill="s", scored_at=ago(days))
        Freeze.objects.create(reason="r", by="ann", since=ago(200), until=ago(days))
        Override.objects.create(service="s", reason="r", by="ann", until=ago(days))
        GateCall.objects.create(service="s", tier="low", answer="approved", at=ago(days))
    models = (Case, Score, Recommendation, Retrospective, Sample, Freeze, Override, GateCall)
    assert retention.clean_up() == len(models)
    assert [model.objects.count() for model in models] == [1] * len(models)
    assert retention.clean_up() == 0


def test_what_waits_stays(transactional_db):
    """However old: an open case, one with news, an open recommendation, a freeze without an end, an output not scored."""
    case(900, "open", outcome=None)
    case(900, look_at=timezone.now())
    Recommendation.objects.create(retrospective_id=ids.new(), key="k", kind="k", text="t", created_at=ago(900))
    Freeze.objects.create(reason="r", by="ann", since=ago(900))
    Sample.objects.create(step_id=ids.new(), agent_id=agents.id_of(None), skill="s", drawn_at=ago(900))
    assert retention.clean_up() == 0


@pytest.mark.parametrize("left", [3, 7])
def test_batches(transactional_db, monkeypatch, left):
    """More than a batch goes in one pass."""
    monkeypatch.setattr(retention, "_BATCH", left)
    for _ in range(8):
        case(400)
    assert retention.CLEAN_UP.run() == 8
    assert not Case.objects.exists()
