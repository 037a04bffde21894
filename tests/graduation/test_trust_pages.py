"""The pages of trust: bounded in queries, however much an agent has decided or an objective has counted."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.urls import reverse
from django.utils import timezone

from execution.models import Agent, Level
from graduation import ladder, objectives, trials
from graduation.models import Bucket, Evidence, Objective
from graduation.observe import standing
from tests.graduation.decided import decided
from tests.hands import MARKS

pytestmark = MARKS
OPENSLO = Path(__file__).parents[1] / "data" / "openslo" / "ledger.yaml"


@pytest.fixture
def operator(client, transactional_db, settings):
    """A client that is logged in as a superuser, where every decision is audited."""
    settings.CELERIAC = settings.CELERIAC | {"audit_share": 1.0}
    client.force_login(User.objects.create_superuser("operator"))
    return client


@pytest.mark.parametrize("count", [30, 190])
def test_agents_page_asks_as_much_for_many_decisions(operator, count, django_assert_max_num_queries):
    """The ladder, the evidence and its curve cost a fixed number of queries."""
    agent = Agent.objects.create(name="scout", level=Level.ADVISOR)
    decided(count)
    ladder.take_all()
    page = reverse("admin:execution_agent_change", args=[agent.pk])
    operator.get(page)
    with django_assert_max_num_queries(32):
        answer = operator.get(page)
    assert f"0 of {count} audited decisions were wrong" in answer.content.decode()


def test_curve_ends_where_the_evidence_stands(operator):
    """What is drawn is how the stored trial came to be, outcome by outcome."""
    Agent.objects.create(name="scout", level=Level.ADVISOR)
    decided(60, bad=2)
    ladder.take_all()
    row = Evidence.objects.get()
    points = trials.curve(row)
    assert [trial.against.count for _, trial in points] == list(range(1, 61))
    assert points[-1][1].against.e == pytest.approx(trials.read(row).against.e)
    assert points[-1][1].in_favour.e == pytest.approx(trials.read(row).in_favour.e)


@pytest.mark.parametrize("count", [10, 600])
def test_objectives_page_asks_as_much_for_many_minutes(operator, count, django_assert_max_num_queries):
    """A period's minutes are added up by the database: the chart costs one answer."""
    objectives.import_([OPENSLO], by="ann")
    one, now = Objective.objects.get(pk="charges-succeed"), timezone.now().replace(second=0, microsecond=0)
    Bucket.objects.bulk_create(
        Bucket(objective=one, minute=now - timedelta(minutes=n + 1), good=9, total=10) for n in range(count)
    )
    standing.settle(one)
    page = reverse("admin:graduation_objective_change", args=[one.pk])
    operator.get(page)
    with django_assert_max_num_queries(16):
        answer = operator.get(page)
    assert answer.context["figures"][3]["value"] == f"{count * 10:,}"
