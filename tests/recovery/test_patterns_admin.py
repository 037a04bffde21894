"""The pages of patterns: what each hit and what has helped, judged with a reason, and all of its runs recovered."""

import html

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse
from django.utils import timezone

from recovery import evaluator, trends
from recovery.models import FailureMatch, FailurePattern, RecoveryCandidate
from tests.execution.test_commands import document, refused
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS
LIST = reverse("admin:recovery_failurepattern_changelist")


@pytest.fixture
def operator(client):
    """A client that is logged in as a superuser."""
    client.force_login(User.objects.create_superuser("operator"))
    return client


def page(pattern, name="change"):
    """Return the address of a pattern's page."""
    return reverse(f"admin:recovery_failurepattern_{name}", args=[pattern.pk])


def waiting(count=3):
    """Have so many runs that failed in one way, each with a recovery that waits for a person."""
    pattern = failed.known_pattern(mode="ask")
    failed.opened(count, pattern=pattern)
    evaluator.evaluate_next(source="claim", by="tests")
    return pattern


def text_of(answer):
    """Return what a page says."""
    return " ".join(html.unescape(answer.content.decode()).split())


def test_trend_is_counted_by_the_day_up_to_a_bound(operator, monkeypatch):
    """Each day has its own bar, and no bar counts more than is shown."""
    monkeypatch.setattr(trends, "COUNTED_MOST", 3)
    pattern = failed.known_pattern()
    old = failed.made_up_failures(2, pattern=pattern)
    FailureMatch.objects.filter(pk__in=[one.pk for one in old]).update(failed_at=timezone.now() - 2 * trends.DAY)
    failed.made_up_failures(5, pattern=pattern)
    found = trends.of([pattern.pk], bars=4, each=trends.DAY, now=timezone.now() + trends.HOUR)
    assert found == {pattern.pk: [0, 2, 0, 3]}
    assert trends.said(found[pattern.pk], "day") == "5 or more in the last 4 days, 3 of them in the last day"


def test_list_asks_a_fixed_number_of_queries(operator, django_assert_num_queries):
    """The list asks as much for one pattern as for several: their trends are read together."""
    waiting()
    for number in range(3):
        with django_assert_num_queries(6):
            assert "in the last 7 days" in text_of(operator.get(LIST))
        failed.known_pattern(str(number) * 40)


def test_page_tells_what_was_hit_and_what_has_helped(operator, django_assert_max_num_queries):
    """The skills and agents that were hit, how actions have done, and how many runs wait; bounded in queries."""
    pattern = waiting()
    failed.proven(recovered=9, tried=10)
    operator.get(page(pattern))
    with django_assert_max_num_queries(22):
        text = text_of(operator.get(page(pattern)))
    for part in ("3 failed runs", "candidates.flaky", "default", "9 of 10", "Recover all failed runs", "last 24 hours"):
        assert part in text, part


def test_judgments_ask_why(operator):
    """A pattern is confirmed with how its failures are answered, renamed, and rejected; each is kept with its reason."""
    pattern = failed.known_pattern(mode="ask")
    for verb, more in (("confirm", {"mode": "automatic"}), ("change", {"name": "Closed gates"}), ("reject", {})):
        wish = {"action": verb, "_selected_action": [pattern.pk], "index": 0, "reason": f"why {verb}", **more}
        operator.post(LIST, wish)
    pattern.refresh_from_db()
    assert (pattern.state, pattern.mode, pattern.name) == ("rejected", "automatic", "Closed gates")
    text = text_of(operator.get(page(pattern)))
    assert all(f"why {verb}" in text for verb in ("confirm", "change", "reject"))


def test_all_runs_of_a_pattern_are_recovered_with_a_result_each(operator):
    """Without a reason nothing is done; with one each run is, and each result is told."""
    pattern = waiting()
    asked = text_of(operator.get(page(pattern, "recover")))
    assert "3 failed runs wait" in asked
    assert "3 runs" in asked
    assert "This field is required" in text_of(operator.post(page(pattern, "recover"), {"reason": ""}))
    assert set(RecoveryCandidate.objects.values_list("state", flat=True)) == {"waiting"}
    RecoveryCandidate.objects.filter(pk=RecoveryCandidate.objects.first().pk).update(state="rejected")
    told = text_of(operator.post(page(pattern, "recover"), {"reason": "the gate is open"}))
    assert "2 of 2 runs done" in told
    assert sorted(RecoveryCandidate.objects.values_list("state", flat=True)) == ["applied", "applied", "rejected"]
    assert "2 of 2 failed runs: the gate is open" in LogEntry.objects.get().change_message
    assert "No failed run of this pattern waits" in text_of(operator.get(page(pattern, "recover")))


def test_another_action_is_done_to_all(operator):
    """What is chosen is done to each, whatever was suggested; the command can do the same, to so many."""
    pattern = waiting()
    found = document(
        "candidates", "bulk", "approve", "--pattern", pattern.name, "--action", "notify", "--limit", "1", "--by", "ann"
    )
    assert [one["is_done"] for one in found["results"]] == [True]
    assert "goes with approve" in refused("candidates", "bulk", "reject", "--pattern", pattern.name, "--action", "x")
    assert "2 of 2 runs done" in text_of(operator.post(page(pattern, "recover"), {"reason": "x", "action": "notify"}))
    assert set(RecoveryCandidate.objects.values_list("action", "state")) == {("notify", "settled")}


def test_who_may_only_look_recovers_nothing(client):
    """Without the permission there is no button, and the page behind it is refused."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_failurepattern"))
    client.force_login(user)
    pattern = waiting()
    text = text_of(client.get(page(pattern)))
    assert "3 failed runs" in text
    assert "Recover all" not in text
    assert "Confirm …" not in text
    assert client.get(page(pattern, "recover")).status_code == 403
    assert client.post(page(pattern, "recover"), {"reason": "x"}).status_code == 403
    assert FailurePattern.objects.get().state == "confirmed"
