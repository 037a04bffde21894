"""The pages of candidates and actions: bounded lists, decisions with a permission and a reason, and changes by version."""

import html

import pytest
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.urls import reverse

from recovery import evaluator, playbook
from recovery.models import ActionRecord, RecoveryCandidate, SuggestionAction, SuggestionProvenance
from tests.hands import MARKS
from tests.recovery import failed

pytestmark = MARKS

# What a list asks, whatever it holds: session, user, badge, plan, count, rows.
QUERIES = {"recoverycandidate": 6, "suggestionaction": 6, "actionrecord": 6, "suggestionprovenance": 6}


@pytest.fixture
def operator(client):
    """A client that is logged in as a superuser."""
    client.force_login(User.objects.create_superuser("operator"))
    return client


def listed(name):
    """Return the address of a list."""
    return reverse(f"admin:recovery_{name}_changelist")


def page(row):
    """Return the address of a row's page."""
    return reverse(f"admin:recovery_{row._meta.model_name}_change", args=[row.pk])


def act(client, name, verb, rows, **more):
    """Call an action of a list, and return what the page says then."""
    data = {"action": verb, "_selected_action": [str(row.pk) for row in rows], "index": 0, **more}
    return html.unescape(client.post(listed(name), data, follow=True).content.decode())


def fill(count):
    """Have so many candidates that wait, each with its audit, and records."""
    found = failed.opened(count, kind=f"{RecoveryCandidate.objects.count():040}")
    evaluator.evaluate_next(source="claim", by="tests")
    for one in found:
        failed.proven(kind=one.fingerprint, action=f"a-{one.pk}")
    return found


def test_lists_ask_a_fixed_number_of_queries(operator, django_assert_num_queries):
    """A list asks as much for three rows as for six."""
    for _ in range(2):
        fill(3)
        for name, count in QUERIES.items():
            with django_assert_num_queries(count, info=name):
                assert operator.get(listed(name)).status_code == 200


def test_pages_open_and_searches_answer(operator):
    """Each row has a page; a search by words, by an id and by nonsense answers."""
    fill(1)
    for name in QUERIES:
        row = apps.get_model("recovery", name).objects.first()
        assert operator.get(page(row)).status_code == 200
        for query in (
            "q=retry",
            f"q={row.pk}",
            "q=%00",
            "q=%27%3B--",
            "state=waiting&source=claim",
            "stage=evaluated",
            "state=%00",
            "source=%00",
        ):
            assert operator.get(f"{listed(name)}?{query}").status_code in (200, 302), (name, query)
        assert operator.get(f"{listed(name)}%00/change/").status_code == 302


def test_candidate_shows_its_alternatives_side_by_side(operator):
    """What is suggested stands first, what else fits beside it, why nobody applied it alone, and the audit below."""
    answer = operator.get(page(fill(1)[0]))
    found = answer.context["choices"]
    assert [(one["name"], one["is_chosen"]) for one in found[:2]] == [("retry", True), ("fall-back", False)]
    text = html.unescape(answer.content.decode())
    for part in ("Why a person decides:", "Try the failed step again", "no: a person decides", "Evaluated by tests"):
        assert part in text, part


def test_another_action_is_done_from_the_page(operator, hands):
    """What is chosen beside the suggestion is what is done, and the reader is back on the page it came from."""
    found = failed.candidate_for(failed.failed_run(hands))
    evaluator.evaluate_next(source="claim", by="tests")
    wish = {"action": "change", "_selected_action": str(found.pk), "index": 0, "back": page(found)}
    asked = html.unescape(operator.post(listed("recoverycandidate"), wish | {"alternative": "notify"}).content.decode())
    assert '<option value="notify" selected>' in asked
    nothing = operator.post(listed("recoverycandidate"), wish | {"reason": "x"}, follow=True)
    assert "nothing is changed" in html.unescape(nothing.content.decode())
    answer = operator.post(listed("recoverycandidate"), wish | {"alternative": "notify", "reason": "only tell"})
    assert answer.headers["location"] == page(found)
    row = RecoveryCandidate.objects.get()
    assert (row.state, row.action, row.decision, row.decided_by) == ("settled", "notify", "changed", "operator")


@pytest.mark.parametrize("back", ["https://elsewhere.example/", "//elsewhere.example", "javascript:alert(1)"])
def test_reader_is_never_sent_elsewhere(operator, back):
    """What is posted as the page to go back to is this site's, or is not gone to."""
    found = fill(1)[0]
    wish = {"action": "reject", "_selected_action": str(found.pk), "index": 0, "back": back, "reason": "x"}
    assert operator.post(listed("recoverycandidate"), wish).headers["location"] == listed("recoverycandidate")


def test_page_asks_a_fixed_number_of_queries(operator, django_assert_max_num_queries):
    """A candidate's page asks as much with eight alternatives as with none."""
    found = fill(1)[0]
    operator.get(page(found))
    with django_assert_max_num_queries(9):
        assert operator.get(page(found)).status_code == 200


def test_decisions_ask_for_a_reason_and_are_audited(operator, hands):
    """Approved with a reason: the run goes on, and the history keeps it; the second decision is told."""
    found = failed.candidate_for(failed.failed_run(hands))
    evaluator.evaluate_next(source="claim", by="tests")
    assert "Reason" in act(operator, "recoverycandidate", "approve", [found])
    assert failed.states(found) == ["waiting"]
    assert "1 candidate approved and applied." in act(operator, "recoverycandidate", "approve", [found], reason="known")
    assert failed.states(found) == ["applied"]
    assert RecoveryCandidate.objects.get().decided_by == "operator"
    assert LogEntry.objects.get().change_message == "Approved and applied: known"
    assert "is applied by operator already" in act(operator, "recoverycandidate", "reject", [found], reason="no")


def test_change_asks_for_an_action_and_its_parameters(operator, hands):
    """Another action with other parameters is approved and done; a mistake is said and decides nothing."""
    found = failed.candidate_for(failed.failed_run(hands))
    evaluator.evaluate_next(source="claim", by="tests")
    assert "what is suggested" in act(operator, "recoverycandidate", "change", [found])
    given = {"alternative": "retry-later", "reason": "soon"}
    assert "JSON object" in act(operator, "recoverycandidate", "change", [found], **given, parameters="[1]")
    said = act(operator, "recoverycandidate", "change", [found], **given, parameters='{"second": 1}')
    assert "did you mean 'seconds'" in said
    assert failed.states(found) == ["waiting"]
    said = act(operator, "recoverycandidate", "change", [found], **given, parameters='{"seconds": 5}')
    assert "1 candidate changed and applied." in said
    found.refresh_from_db()
    assert (found.state, found.action, found.parameters) == ("applied", "retry-later", {"seconds": 5})
    assert (found.decision, found.decided_by) == ("changed", "operator")


def test_who_may_not_decide(client):
    """To look is not to decide."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_recoverycandidate"))
    client.force_login(user)
    found = fill(1)
    act(client, "recoverycandidate", "approve", found, reason="mine")
    act(client, "recoverycandidate", "change", found, reason="mine", other="skip")
    assert failed.states(*found) == ["waiting"]
    assert client.post(page(found[0]), {"action": "x"}).status_code == 403
    user.user_permissions.add(Permission.objects.get(codename="decide_candidate"))
    act(client, "recoverycandidate", "reject", found, reason="mine")
    assert failed.states(*found) == ["rejected"]


def form(**changes):
    """Return what the form of the retry action sends."""
    row = playbook.get("retry")
    about = {
        "verb": row.verb, "parameters": '{"seconds": 30}', "description": row.description, "error_kinds": "transient",
        "categories": "", "skills": "", "weight": row.weight, "risk": row.risk, "level": row.level,
        "is_automated": "on", "cooldown_seconds": 0, "is_enabled": "on", "reason": "", "seen_version": row.version,
    }  # fmt: skip
    return about | changes


def test_action_is_changed_under_its_version(operator):
    """A change raises the version; an older look is refused, and so is what the verb does not take."""
    row = playbook.get("retry")
    assert operator.post(page(row), form(weight=0.2, reason="calmer")).status_code == 302
    row.refresh_from_db()
    assert (row.weight, row.version, row.proven_since, row.changed_by) == (0.2, 2, 1, "operator")
    stale = operator.post(page(row), form(weight=0.9, seen_version=1))
    assert "changed by somebody else meanwhile" in html.unescape(stale.content.decode())
    wrong = operator.post(page(row), form(parameters='{"secs": 1}'))
    assert "takes no parameter 'secs'" in html.unescape(wrong.content.decode())
    assert playbook.get("retry").version == 2


def test_actions_are_switched_and_records_cleared(operator):
    """Off and on with a reason; what was taken back is cleared."""
    rows = SuggestionAction.objects.filter(pk="retry")
    assert "1 action disabled." in act(operator, "suggestionaction", "disable", rows, reason="broken")
    assert not playbook.get("retry").is_enabled
    assert "1 action enabled." in act(operator, "suggestionaction", "enable", rows, reason="mended")
    record = failed.proven(ineffective_at="2026-01-01T00:00Z")
    assert "1 record cleared." in act(operator, "actionrecord", "clear", [record], reason="mended")
    assert ActionRecord.objects.get().cleared_at is not None
    assert not SuggestionProvenance.objects.exists()
