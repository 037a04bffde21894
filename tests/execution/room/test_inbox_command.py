"""`manage.py inbox`: as powerful as the page, by the same verbs."""

import pytest

from execution.models import Run
from execution.room.inbox import deciding
from tests import waiting
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS

WHY = ("--by", "ann", "--reason", "I looked")


def test_list_and_patterns(hands):
    """What waits, with what it asks; filtered; and how much of which pattern."""
    step, _ = waiting.approval(hands, count=2)
    waiting.letter()
    assert "May release pass the gate" in typed("inbox", "list")
    found = document("inbox", "list", "--kind", "approval", "--limit", "1")
    assert [one["name"] for one in found["matters"]] == [f"approval:{step.pk}"]
    rest = document("inbox", "list", "--kind", "approval", "--after", found["after"])
    assert (len(rest["matters"]), rest["after"]) == (1, "")
    assert document("inbox", "list", "--pattern", "nothing")["matters"] == []
    assert typed("inbox", "list", "--agent", "nobody").strip() == "nothing of this waits for a person"
    assert document("inbox", "patterns")["patterns"][0]["count"] == 2
    assert "there are approval" in refused("inbox", "list", "--kind", "aproval")


def test_show(hands):
    """The evidence, and what each decision does."""
    step = waiting.budget(hands)
    text = typed("inbox", "show", f"budget:{step.pk}")
    assert "the budget does not hold its next part" in text
    assert "--decision top-up" in text
    assert document("inbox", "show", str(step.pk))["decisions"] == ["top-up", "go-on", "cancel"]
    waiting.runs.cancel(step.run_id, by="bob")
    assert "bob was faster" in refused("inbox", "show", f"budget:{step.pk}")


def test_decide_by_id_and_undo(hands):
    """What a decision asks for is set by name; a reason is wanted; what was done is told."""
    step = waiting.budget(hands)
    name = f"budget:{step.pk}"
    assert "reason" in refused("inbox", "decide", name, "--decision", "top-up", "--set", "cost=2")
    assert "Say how much" in refused("inbox", "decide", name, "--decision", "top-up", *WHY)
    assert "1 of 1 matter done" in typed("inbox", "decide", name, "--decision", "top-up", "--set", "cost=2", *WHY)
    assert Run.objects.get(pk=step.run_id).state == "running"
    assert "nothing was done" in refused("inbox", "decide", name, "--decision", "top-up", "--set", "cost=2", *WHY)
    first, second = waiting.candidates(2)
    told = document("inbox", "decide", str(first.pk), str(second.pk), "--decision", "reject", *WHY)
    assert (told["done"], failed.states(first, second)) == (2, ["rejected", "rejected"])
    document("inbox", "undo", f"candidate:{first.pk}", "--decision", "reject", *WHY)
    assert failed.states(first, second) == ["waiting", "rejected"]
    assert "cannot be taken back" in refused("inbox", "undo", name, "--decision", "top-up", *WHY)


def test_decide_all_of_a_pattern(monkeypatch):
    """Also more than are decided at once."""
    monkeypatch.setattr(deciding, "AT_ONCE", 2)
    found = waiting.candidates(5)
    pattern = deciding.find("candidate", str(found[0].pk)).pattern
    about = ("--kind", "candidate", "--decision", "reject", *WHY)
    assert "--pattern" in refused("inbox", "decide", *about)
    assert "5 of 5 matters done" in typed("inbox", "decide", "--pattern", pattern, *about)
    assert failed.states(*found) == ["rejected"] * 5


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("decide", "--decision", "approve", *WHY), "some IDs"),
        (("decide", "x:y", "--decision", "approve", *WHY), "there is no kind 'x'"),
        (("decide", "letter:019", "--decision", "replay", *WHY), "too short"),
        (("show", "0192aaaa"), "nothing waits under"),
        (("undo", "0192aaaa", "--decision", "reject", *WHY), "KIND:ID"),
        (("list", "--limit", "0"), "give 1 or more"),
    ],
)
def test_mistakes_are_named(arguments, said):
    """Each in words."""
    assert said in refused("inbox", *arguments)
