"""The admin's pages of exports and of days of advice: read-only, bounded, with upload and verification as actions."""

from datetime import date, timedelta

import pytest
from django.contrib.auth.models import Permission, User
from django.db import transaction
from django.urls import reverse

from recovery import exports
from recovery.models import AdviceDay, ExportState, FailurePatternExport

pytestmark = [pytest.mark.django_db(transaction=True)]

LIST = "admin:recovery_failurepatternexport_changelist"
NIGHT = date(2026, 3, 9)


def kept(count):
    """Keep exports of so many nights."""
    with transaction.atomic():
        return [exports.export_night(NIGHT + timedelta(days=number), [{"n": number}]) for number in range(count)]


@pytest.fixture
def operator(client):
    """Log in somebody who may see and operate exports."""
    user = User.objects.create_user("ann", is_staff=True)
    names = ["view_failurepatternexport", "view_adviceday", "operate_export"]
    user.user_permissions.set(Permission.objects.filter(codename__in=names))
    client.force_login(user)
    return client


def test_lists_ask_a_fixed_number_of_queries(operator, folder, django_assert_num_queries):
    """A list asks as much for three rows as for six."""
    for count in (3, 6):
        kept(count)
        AdviceDay.objects.bulk_create(
            [AdviceDay(day=NIGHT + timedelta(days=number)) for number in range(count)], ignore_conflicts=True
        )
        with django_assert_num_queries(7):
            assert operator.get(reverse(LIST)).status_code == 200
        with django_assert_num_queries(7):
            assert operator.get(reverse("admin:recovery_adviceday_changelist")).status_code == 200


def test_page_and_search(operator, folder):
    """An export has a page, and is found by a part of its name and by its hash."""
    export = kept(1)[0]
    page = reverse("admin:recovery_failurepatternexport_change", args=[export.pk])
    assert export.digest in operator.get(page).content.decode()
    for query in (export.digest[:8], "candidates_"):
        assert "2026" in operator.get(reverse(LIST), {"q": query}).content.decode()


def act(client, name, *rows):
    """Choose an action, and give a reason."""
    data = {"action": name, "_selected_action": [row.pk for row in rows], "reason": "a test", "post": "yes"}
    return client.post(reverse(LIST), data, follow=True).content.decode()


def test_actions(operator, folder):
    """Who may operate uploads and verifies; what could not be done is told with its reason."""
    waiting, lost = kept(2)
    assert "1 export skipped" in act(operator, "verify", waiting)
    FailurePatternExport.objects.filter(pk=lost.pk).update(kept_on="elsewhere", digest="0" * 64)
    said = act(operator, "upload", waiting, lost)
    assert "1 export uploaded" in said
    assert "elsewhere kept them" in said
    waiting.refresh_from_db()
    assert waiting.state == ExportState.UPLOADED
    assert "1 export verified" in act(operator, "verify", waiting)


def test_action_needs_its_permission(operator, folder):
    """Who may only look does nothing."""
    export = kept(1)[0]
    User.objects.get().user_permissions.remove(Permission.objects.get(codename="operate_export"))
    act(operator, "upload", export)
    export.refresh_from_db()
    assert export.state == ExportState.PENDING_UPLOAD
