"""The pages of dead letters, handlers and handlings: bounded lists, and actions that ask, check and report."""

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from execution import ids
from recovery import dead_letters, stream
from recovery.models import DeadLetter, HandlerSwitch, Handling, RecoveryCandidate
from tests.hands import MARKS
from tests.recovery.stream_rows import candidates

pytestmark = MARKS
QUERIES = {"deadletter": 6, "handlerswitch": 6, "handling": 6}


@pytest.fixture
def operator(client):
    """A client that may do everything."""
    client.force_login(User.objects.create_superuser("ann"))
    return client


def listed(name):
    """Return the address of a list."""
    return reverse(f"admin:recovery_{name}_changelist")


def fill(count):
    """Make some rows of each kind."""
    for _ in range(count):
        number = DeadLetter.objects.count()
        dead_letters.keep(queue="stream", original_id=f"1-{number}", body={"candidate": "x"}, reason="r", tries=5)
        HandlerSwitch.objects.create(handler=f"tests.{number}", kinds=["a.b"])
        Handling.objects.create(
            handler=f"tests.{number}",
            event_id=ids.new(),
            kind="a.b",
            event={"a": 1},
            state="waiting",
            question="Which?",
        )


def do(client, name, action, *rows, **given):
    """Ask for an action on rows, with what its form wants; returns the answer."""
    chosen = {"action": action, "_selected_action": [row.pk for row in rows]}
    return client.post(listed(name), chosen | given, follow=True)


def test_lists_ask_a_fixed_number_of_queries(operator, django_assert_num_queries):
    """A list asks as much for three rows as for six."""
    for _ in range(2):
        fill(3)
        for name, count in QUERIES.items():
            with django_assert_num_queries(count, info=name):
                assert operator.get(listed(name)).status_code == 200


def test_pages_open(operator):
    """Each row has a page, that tells all and changes nothing."""
    fill(1)
    for row in (DeadLetter.objects.get(), HandlerSwitch.objects.get(), Handling.objects.get()):
        page = operator.get(reverse(f"admin:recovery_{row._meta.model_name}_change", args=[row.pk]))
        assert page.status_code == 200
        assert b'name="_save"' not in page.content


def test_replay_and_dismiss(operator):
    """A letter is replayed with a reason; one that was replayed already is skipped, and said so; the filter shows the rest."""
    (wanted,) = candidates(1)
    for number in range(2):
        body = {"candidate": str(wanted)}
        dead_letters.keep(queue="stream", original_id=f"1-{number}", body=body, reason="r", tries=5)
    first, second = DeadLetter.objects.order_by("id")
    asked = do(operator, "deadletter", "replay", first)
    assert b"Reason" in asked.content
    assert DeadLetter.objects.filter(replayed_at=None).count() == 2
    done = do(operator, "deadletter", "replay", first, reason="mended")
    assert b"1 letter replayed" in done.content
    assert b"was replayed by ann already" in do(operator, "deadletter", "replay", first, reason="again").content
    assert LogEntry.objects.filter(change_message__contains="mended").count() == 1
    assert b"1 letter dismissed" in do(operator, "deadletter", "dismiss", second, reason="known").content
    assert operator.get(listed("deadletter") + "?state=waiting").context["cl"].result_count == 0
    assert RecoveryCandidate.objects.get().state == "open"
    assert stream.work(evaluate=lambda ids_, **_: ids_) == 1


def test_answer(operator):
    """A question is answered with a reason; its handler goes on."""
    fill(1)
    row = Handling.objects.get()
    assert b"Answer" in do(operator, "handling", "answer", row).content
    assert b"This field is required" in do(operator, "handling", "answer", row, reason="asked").content
    done = do(operator, "handling", "answer", row, reason="asked", answer="left")
    assert b"1 question answered" in done.content
    row.refresh_from_db()
    assert (row.state, row.answers, row.answered_by) == ("pending", {"Which?": "left"}, "ann")
    assert b"waits for no answer" in do(operator, "handling", "answer", row, reason="again", answer="right").content


def test_switch(operator):
    """A handler is switched off and on with a reason."""
    fill(1)
    row = HandlerSwitch.objects.get()
    do(operator, "handlerswitch", "disable", row, reason="mad")
    row.refresh_from_db()
    assert (row.is_enabled, row.changed_by, row.reason) == (False, "ann", "mad")
    do(operator, "handlerswitch", "enable", row, reason="mended")
    row.refresh_from_db()
    assert row.is_enabled


def test_permissions(client):
    """Who may only look sees no action."""
    user = User.objects.create_user("bob", is_staff=True)
    user.user_permissions.add(*Permission.objects.filter(codename__startswith="view_"))
    client.force_login(user)
    fill(1)
    for name, row, action in (
        ("deadletter", DeadLetter.objects.get(), "replay"),
        ("handling", Handling.objects.get(), "answer"),
        ("handlerswitch", HandlerSwitch.objects.get(), "disable"),
    ):
        do(client, name, action, row, reason="no", answer="no")
    assert DeadLetter.objects.filter(replayed_at=None).exists()
    assert Handling.objects.get().state == "waiting"
    assert HandlerSwitch.objects.get().is_enabled
