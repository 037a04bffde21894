"""Every change has who, when and why: in the admin's history, and in the ledger's log."""

from functools import partial

import pytest
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import User
from django.urls import reverse

from execution import runs
from execution.models import CapabilityLockout, Event
from execution.room.inbox.parts import sources
from recovery.models import FailurePattern, HandlerSwitch, SuggestionAction
from tests import command_skills, waiting
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS

WHY = "because I looked"
GIVEN = {
    ("question", "answer"): {"answer": "go"},
    ("handler", "answer"): {"answer": "news"},
    ("budget", "top-up"): {"cost": "2"},
    ("candidate", "other"): {"action": "retry-later"},
}


@pytest.fixture
def ann(client):
    """Return the browser of somebody who may do everything."""
    client.force_login(User.objects.create_superuser("ann"))
    return client


def told(row):
    """Check that the change of a row is told with who and why, and return the kinds of the events."""
    entries = LogEntry.objects.filter(object_id=str(row.pk), user__username="ann", change_message__contains=WHY)
    assert entries.count() == 1, list(LogEntry.objects.values_list("object_id", "change_message"))
    found = [event for event in Event.objects.all() if event.data.get("by") == "ann" and WHY in str(event.data)]
    assert found, list(Event.objects.values_list("kind", "data"))
    return {event.kind for event in found}


def test_every_decision_of_the_inbox(ann, hands):
    """Each decision of each kind; incidents' are tested with their workflow."""
    known = {(source.kind, one.name) for source in sources() for one in source.decisions if source.kind != "incident"}
    for kind, name in sorted(known):
        LogEntry.objects.all().delete()
        row = _row(kind, hands)
        data = {"kind": kind, "key": str(row.pk), "decision": name, "reason": WHY, **GIVEN.get((kind, name), {})}
        page = ann.post(reverse("admin:inbox_ask"), data, follow=True)
        assert "1 of 1 matter done" in page.text, (kind, name, page.text)
        source = next(one for one in sources() if one.kind == kind)
        assert told(source.history(row)), (kind, name)
        Event.objects.all()._raw_delete("default")
    assert len(known) > 20


def _row(kind, hands):
    """Have one thing of a kind that waits."""
    made = {
        "approval": lambda: waiting.approval(hands)[0],
        "effect": partial(_effect, hands),
        "candidate": _candidate,
        "promotion": _offer,
        "letter": _letter,
        **{one: partial(getattr(waiting, one), hands) for one in ("question", "budget", "autonomy")},
    }
    return made[kind]() if kind in made else getattr(waiting, kind)()


def _effect(hands):
    """Have an effect that nobody knows the outcome of."""
    return waiting.effect(hands).effects.get()


def _letter():
    """Have a letter about a candidate that can be evaluated again."""
    letter = waiting.letter()
    letter.body = {"candidate": str(failed.opened()[0].pk)}
    letter.save()
    return letter


def _offer():
    """Have an offer that nobody has decided, of an agent that stands below it."""
    waiting.Offer.objects.all().delete()
    waiting.Agent.objects.filter(name="hero").update(level=1)
    return waiting.offer()


def _candidate():
    """Have a candidate whose run somebody can retry."""
    return waiting.candidates()[0]


def _failed(hands):
    return failed.failed_run(hands)


ACTIONS = {
    ("run", "pause"): lambda hands: command_skills.ask.start(),
    ("run", "resume"): lambda hands: runs.pause(command_skills.ask.start()),
    ("run", "cancel"): lambda hands: command_skills.ask.start(),
    ("run", "retry"): _failed,
    ("capabilitylockout", "lift"): lambda hands: CapabilityLockout.objects.create(capability="web"),
    ("recoverycandidate", "approve"): lambda hands: _candidate(),
    ("recoverycandidate", "reject"): lambda hands: _candidate(),
    ("recoverycandidate", "hurry"): lambda hands: failed.opened()[0],
    ("deadletter", "dismiss"): lambda hands: waiting.letter(),
    ("suggestionaction", "disable"): lambda hands: SuggestionAction.objects.get(name="retry"),
    ("failurepattern", "confirm"): lambda hands: _proposed(),
    ("failurepattern", "reject"): lambda hands: _proposed(),
    ("handlerswitch", "disable"): lambda hands: HandlerSwitch.objects.create(handler="mail.welcome"),
    ("offer", "accept"): lambda hands: waiting.offer(),
    ("offer", "decline"): lambda hands: waiting.offer(),
    ("recommendation", "accept"): lambda hands: waiting.recommendation(),
    ("recommendation", "decline"): lambda hands: waiting.recommendation(),
}


def _proposed():
    """Have a pattern that nobody has judged."""
    found = failed.known_pattern(kind="c" * 40)
    FailurePattern.objects.filter(pk=found.pk).update(state="proposed")
    return found


@pytest.mark.parametrize(("model", "verb"), list(ACTIONS))
def test_action_of_a_list(ann, hands, model, verb):
    """What an action of a list does is told twice: with who and why."""
    row = ACTIONS[model, verb](hands)
    page = next(one for one in admin.site._registry if one._meta.model_name == model)
    address = reverse(f"admin:{page._meta.app_label}_{model}_changelist")
    data = {"action": verb, "_selected_action": [str(row.pk)], "index": 0, "reason": WHY}
    answer = ann.post(address, data, follow=True)
    assert "skipped" not in answer.text
    assert told(row)
