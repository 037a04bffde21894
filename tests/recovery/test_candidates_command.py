"""The commands `candidates` and `actions`: text for a person, one JSON document with --json, mistakes in words."""

import pytest

from recovery import decisions, evaluator
from recovery.models import ActionRecord, RecoveryCandidate
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS


@pytest.fixture
def waiting(hands):
    """Have three failed runs under one pattern, whose candidates wait."""
    pattern = failed.known_pattern(mode="ask")
    found = [failed.candidate_for(failed.failed_run(hands), kind=failed.KIND, pattern=pattern) for _ in range(3)]
    evaluator.evaluate_next(source="claim", by="tests")
    return list(RecoveryCandidate.objects.filter(pk__in=[one.pk for one in found]).order_by("id"))


def test_list(waiting):
    """What has not ended, the newest first; other states by name."""
    text = typed("candidates", "list")
    assert "candidates.flaky" in text
    assert "not proven enough" in text
    listed = document("candidates", "list", "--limit", "2")["candidates"]
    assert [one["candidate"] for one in listed] == [str(waiting[2].id), str(waiting[1].id)]
    assert document("candidates", "list", "--state", "recovered") == {"candidates": []}
    number = str(waiting[0].pattern_id)
    assert len(document("candidates", "list", "--pattern", number)["candidates"]) == 3
    assert "patterns list" in refused("candidates", "list", "--pattern", "none")
    assert "give 1 or more" in refused("candidates", "list", "--limit", "0")


def test_show(waiting):
    """The evidence and the alternatives stand side by side, the audit below."""
    text = typed("candidates", "show", waiting[0].id)
    rows = [line.split() for line in text.splitlines()]
    assert [">", "retry", "v1", "retry", "0.70", "0.00", "0", "of", "0", "seconds=30"] in rows
    assert any(row[:2] == ["manual", "v1"] for row in rows)
    assert "evaluated by tests" in text
    found = document("candidates", "show", str(waiting[0].id))
    assert (found["parameters"], found["evidence"]["tried"], found["provenance"][0]["stage"]) == (
        {"seconds": 30}, 0, "evaluated",
    )  # fmt: skip
    assert "candidates list" in refused("candidates", "show", "12345678-ffff")


def test_deciding(waiting):
    """Approve, reject and change do it at once; the second to decide is told."""
    first, second, third = waiting
    assert "goes on from its failed step in 30 s" in typed("candidates", "approve", first.id, "--reason", "known")
    assert document("candidates", "reject", second.id, "--by", "ann")["state"] == "rejected"
    assert "rejected by ann already" in refused("candidates", "approve", second.id)
    assert "nothing is changed" in refused("candidates", "change", third.id)
    assert "did you mean 'seconds'" in refused("candidates", "change", third.id, "--set", "secnds=3")
    changed = document("candidates", "change", third.id, "--action", "retry-later", "--set", "seconds=5")
    assert (changed["state"], changed["before"], changed["action"]) == ("applied", "waiting", "retry-later")
    assert RecoveryCandidate.objects.get(pk=third.id).parameters == {"seconds": 5}
    assert "nothing was done" in refused("candidates", "apply", third.id)


def test_apply_what_was_approved_before(waiting):
    """Approved elsewhere, applied here."""
    decisions.approve(waiting[0], by="ann")
    assert typed("candidates", "apply", waiting[0].id).startswith(f"candidate {waiting[0].id}: applied")


def test_bulk(waiting):
    """Each has a line of its own."""
    decisions.reject(waiting[1], by="bob")
    text = typed("candidates", "bulk", "approve", "--pattern", "pattern ffffffff")
    assert text.endswith("2 of 2 candidates done")
    assert document("candidates", "bulk", "reject", "--pattern", "pattern ffffffff") == {"results": []}
    assert "patterns list" in refused("candidates", "bulk", "reject", "--pattern", "odd")


def test_clear(waiting):
    """What was taken back may be applied alone again."""
    failed.proven(ineffective_at="2026-01-01T00:00Z")
    assert document("candidates", "show", waiting[0].id)["taken_back"] == ["retry"]
    assert "may be applied alone again" in typed("candidates", "clear", "retry", "ffffffff", "--by", "ann")
    assert ActionRecord.objects.get().cleared_at is not None
    assert "was not taken back" in refused("candidates", "clear", "retry", "ffffffff")


def test_hurry():
    """An open one goes first."""
    found = failed.opened()[0]
    typed("candidates", "hurry", found.id)
    assert document("candidates", "show", found.id)["is_urgent"]
    assert "open!" in typed("candidates", "list")


def test_actions():
    """Listed, shown with their evidence, switched off and on."""
    failed.proven(recovered=11, tried=11)
    assert "retry_with_input" in typed("actions", "list")
    assert "11 of 11, 0.80 for sure" in typed("actions", "show", "retry")
    assert document("actions", "show", "retry")["records"][0]["bound"] == 0.8026
    assert "takes            seconds=0, factor=2, most_seconds=3600" in typed("actions", "show", "retry")
    assert "takes            changes (must be told)" in typed("actions", "show", "patch-the-input")
    assert document("actions", "show", "fall-back")["takes"] == {"skill": {"must_be_told": True, "default": None}}
    assert typed("actions", "disable", "retry") == "retry is suggested no more, version 2"
    assert document("actions", "enable", "retry")["version"] == 3
    assert "did you mean 'retry'" in refused("actions", "show", "retri")
