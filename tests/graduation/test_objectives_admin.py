"""The pages of objectives and of the gate: plain, bounded in queries, changed by verbs with a reason and a permission."""

from datetime import timedelta
from pathlib import Path

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from graduation import objectives
from graduation.models import Bucket, DriftState, Freeze, Objective, Override
from graduation.observe import gate
from tests.hands import MARKS

pytestmark = MARKS

DATA = Path(__file__).parent.parent / "data" / "openslo"
QUERIES = {
    "objective": 4, "objectivestate": 4, "bucket": 4, "driftstate": 4, "freeze": 4, "override": 4, "gatecall": 4
}  # fmt: skip


@pytest.fixture
def operator(client, transactional_db):
    """A client that is logged in as a superuser, beside some rows of each kind."""
    client.force_login(User.objects.create_superuser("ann"))
    objectives.import_([DATA / "ledger.yaml"], by="ann")
    for one in Objective.objects.all():
        Bucket.objects.create(objective=one, minute=timezone.now(), good=1, total=2)
        DriftState.objects.create(objective=one, window="30m")
        gate.freeze(one.pk, by="ann", reason="x")
        gate.override(one.pk, by="ann", reason="x", until=timezone.now() + timedelta(hours=1))
        gate.ask("payments", by="ann")
    return client


def listed(name):
    """Return the address of a model's list."""
    return reverse(f"admin:graduation_{name}_changelist")


def test_lists_ask_a_fixed_number_of_queries(operator, django_assert_max_num_queries):
    """A list asks the same few things however many rows there are; each page opens, and a search answers."""
    for name, count in QUERIES.items():
        with django_assert_max_num_queries(count + 3, info=name):
            answer = operator.get(listed(name))
        assert answer.status_code == 200
        assert operator.get(listed(name), {"q": "payments"}).status_code == 200
        row = answer.context["cl"].result_list[0]
        assert operator.get(reverse(f"admin:graduation_{name}_change", args=[row.pk])).status_code == 200


def test_disable_asks_why(operator):
    """An objective is disabled by an action that asks for a reason and is audited."""
    chosen = {"action": "disable", "_selected_action": ["charges-succeed"]}
    assert b"Reason" in operator.post(listed("objective"), chosen).content
    operator.post(listed("objective"), chosen | {"reason": "too noisy"})
    assert not Objective.objects.get(pk="charges-succeed").is_enabled
    assert "too noisy" in LogEntry.objects.get().change_message


def test_without_the_permission_nothing_is_offered(client, operator):
    """Who may only look is offered neither an action nor a form."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__in=["view_objective", "view_freeze"]))
    client.force_login(user)
    chosen = {"action": "disable", "_selected_action": ["charges-succeed"], "reason": "x"}
    client.post(listed("objective"), chosen)
    assert Objective.objects.get(pk="charges-succeed").is_enabled
    assert client.get(reverse("admin:graduation_freeze_add")).status_code == 403


def test_freeze_and_override_by_form(operator):
    """A freeze and an override are made by their verbs: with who asked, and refused with the verb's own words."""
    later = timezone.localtime(timezone.now() + timedelta(hours=2))
    until = {"until_0": f"{later:%Y-%m-%d}", "until_1": f"{later:%H:%M:%S}"}
    operator.post(reverse("admin:graduation_freeze_add"), {"service": "shop", "reason": "holidays", **until})
    assert Freeze.objects.get(service="shop").by == "ann"
    operator.post(reverse("admin:graduation_override_add"), {"service": "shop", "reason": "a fix", **until})
    assert Override.objects.get(service="shop").by == "ann"
    past = {"service": "shop", "reason": "x", "until_0": "2020-01-01", "until_1": "00:00:00"}
    answer = operator.post(reverse("admin:graduation_override_add"), past)
    assert b"it would be over already" in answer.content
    frozen = Freeze.objects.get(service="shop")
    operator.post(listed("freeze"), {"action": "lift", "_selected_action": [frozen.pk], "reason": "over"})
    frozen.refresh_from_db()
    assert frozen.lifted_by == "ann"
