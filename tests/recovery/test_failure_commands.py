"""`manage.py failures` and `patterns`: what they show, change and refuse."""

import pytest
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from recovery import aggregation
from recovery.models import FailureMatch, FailurePattern
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.recovery.test_patterns import NIGHT, exported, failed  # noqa: F401 - a fixture

pytestmark = MARKS


@pytest.fixture
def night(transactional_db):
    """Have three failures of one kind, one of another, and a pattern of the first."""
    rows = [failed("order 7 is odd", error_kind="transient") for _ in range(3)] + [failed("else", frames=("x:y",))]
    aggregation.aggregate(NIGHT)
    return rows


def listed(*line):
    """Return the ids that a list shows."""
    return [row["id"] for row in document("failures", "list", *line)["failures"]]


class TestFailures:
    """What failed is listed, found by a prefix, and shown whole."""

    def test_list(self, night):
        """Each filter leaves what it says."""
        ids = [str(row.id) for row in night]
        assert listed() == ids[::-1]
        assert listed("--pattern", "none") == ids[3:]
        assert listed("--pattern", FailurePattern.objects.get().name) == ids[2::-1]
        assert listed("--kind", "unknown") == ids[3:]
        assert listed("--skill", "other") == []
        assert listed("--since", "1h", "--limit", "1", "--final") == ids[3:]

    def test_list_for_a_person(self, night):
        """A line has the id's beginning, the pattern with its confidence, and what it says."""
        text = typed("failures", "list", "--kind", "transient", "--limit", "1")
        assert str(night[2].id) in text
        assert "ShopError in shop.place: order" in text
        assert typed("failures", "list", "--skill", "other") == "there is no such failure"

    def test_show(self, night):
        """A failure is shown with its message, by its id or the beginning of it."""
        told = document("failures", "show", str(night[3].id))
        assert (told["message"], told["fingerprint"], told["candidate"]) == ("else", night[3].fingerprint, None)
        assert "else" in typed("failures", "show", str(night[3].id)[:23])

    def test_confirm(self, night):
        """A right match is confirmed by who and why."""
        told = document("failures", "confirm", str(night[0].id), "--by", "ann", "--reason", "it is")
        assert told["confirmed_count"] == 1
        assert "matched none" in refused("failures", "confirm", str(night[3].id))

    def test_refused(self, night):
        """What is not there is said to be so."""
        assert "too short" in refused("failures", "show", "01")
        assert "no failure" in refused("failures", "show", "0" * 12)
        for name in ("x", "²", "9" * 5000):
            assert "no pattern" in refused("failures", "list", "--pattern", name)
        assert "give 1 or more" in refused("failures", "list", "--limit", "0")
        assert "--since" in refused("failures", "list", "--since", "soon")
        same = str(night[0].id)[:8]
        FailureMatch.objects.filter(pk=night[0].pk).update(message="x")
        assert "more than one" in refused("failures", "show", same)


class TestPatterns:
    """Patterns are listed by cost, shown with examples, judged with who and why."""

    def test_list_and_show(self, night):
        """The list has cost and count; a pattern is shown by number or name with its examples."""
        found = FailurePattern.objects.get()
        (row,) = document("patterns", "list")["patterns"]
        assert (row["name"], row["cost"], row["count"]) == (found.name, "1.500000", 3)
        assert document("patterns", "list", "--state", "rejected")["patterns"] == []
        assert "ask (suggested: automatic)" in typed("patterns", "list")
        assert len(document("patterns", "show", found.pk)["examples"]) == 3
        assert "order <*> is odd" in typed("patterns", "show", found.name)

    def test_judging(self, night):
        """Confirm, change and reject do so, and say what it is now."""
        name = FailurePattern.objects.get().name
        assert "confirmed: transient, mode automatic" in typed("patterns", "confirm", name, "--by", "ann")
        told = document("patterns", "change", name, "--category", "resource", "--name", "odd", "--by", "ann")
        assert (told["category"], told["name"]) == ("resource", "odd")
        assert document("patterns", "reject", "odd", "--by", "bob", "--reason", "no")["state"] == "rejected"
        assert "nothing was changed" in refused("patterns", "reject", "odd")
        assert "did you mean 'odd'" in refused("patterns", "show", "odt")

    def test_aggregate(self, night):
        """A night is done by hand, once; a night that is no date is refused."""
        told = document("patterns", "aggregate", "--night", str(NIGHT))
        assert (told["proposed"], len(told["lines"])) == (1, 1)
        assert "what has failed since is grouped in the next night" in typed(
            "patterns", "aggregate", "--night", str(NIGHT)
        )
        assert typed("patterns", "aggregate").endswith("0 patterns proposed, 0 failures added to known ones")
        assert "still to come" in refused("patterns", "aggregate", "--night", "2999-01-01")
        assert "write a date" in refused("patterns", "aggregate", "--night", "2026-13-01")


LISTS = {"failurematch": 6, "failurepattern": 6, "failuretemplate": 6, "failurenight": 6}


class TestAdmin:
    """The pages are read-only; judging wants a permission and a reason."""

    @pytest.fixture
    def operator(self, transactional_db, client):
        client.force_login(User.objects.create_superuser("ann"))
        return client

    def test_lists_and_pages(self, night, operator, django_assert_num_queries):
        """Each list asks a fixed number of queries, and each row has a page."""
        for _ in range(2):
            for name, count in LISTS.items():
                with django_assert_num_queries(count, info=name):
                    assert operator.get(reverse(f"admin:recovery_{name}_changelist")).status_code == 200
            failed("more", frames=("x:y",))
        for row in (night[0], FailurePattern.objects.get(), night[0].template):
            address = reverse(f"admin:recovery_{row._meta.model_name}_change", args=[row.pk])
            assert operator.get(address).status_code == 200
            assert operator.post(address, {"name": "x"}).status_code == 403
        for query in ("q=shop.place", f"q={night[0].id}", "q=%00", "how=fingerprint", "error_kind=transient"):
            assert operator.get(reverse("admin:recovery_failurematch_changelist") + f"?{query}").status_code == 200
        assert "ShopError" in operator.get(reverse("admin:recovery_failurepattern_changelist") + "?q=odd").text

    def test_judging(self, night, operator):
        """A pattern is confirmed with a reason, which is kept."""
        found = FailurePattern.objects.get()
        form = {"action": "confirm", "_selected_action": [found.pk], "reason": "it is so"}
        operator.post(reverse("admin:recovery_failurepattern_changelist"), form)
        found.refresh_from_db()
        assert (found.state, found.changed_by, found.reason) == ("confirmed", "ann", "it is so")

    def test_who_may_only_look(self, night, client):
        """Without the permission there is no action."""
        viewer = User.objects.create_user("vic", is_staff=True)
        viewer.user_permissions.set(Permission.objects.filter(codename__startswith="view_"))
        client.force_login(viewer)
        form = {"action": "confirm", "_selected_action": [FailurePattern.objects.get().pk], "reason": "x"}
        client.post(reverse("admin:recovery_failurepattern_changelist"), form)
        assert FailurePattern.objects.get().state == "proposed"
