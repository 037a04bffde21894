"""Recovering all failed runs of a pattern: what will be done to how many, then the result of each."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from django import forms
from django.core.exceptions import PermissionDenied
from django.db.models import Count
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse

from execution import words
from execution.admin import shown
from execution.admin.reasons import ReasonForm
from recovery import decisions
from recovery.decisions import Result
from recovery.models import FailurePattern, RecoveryCandidate, SuggestionAction

AT_ONCE = 200
"""So many are recovered by one press: a page does not wait for thousands."""


class RecoverForm(ReasonForm):
    """What is done to each run."""

    action = forms.ChoiceField(required=False, label="What is done to each run")
    field_order = ("action", "reason")

    def __init__(self, *given: Any, **options: Any) -> None:
        super().__init__(*given, **options)
        rows = SuggestionAction.objects.filter(is_enabled=True).order_by("name")
        known = [(one.name, f"{one.name}: {one.description}") for one in rows]
        self.fields["action"].choices = [("", "What is suggested for it"), *known]  # type: ignore[attr-defined]


def recover(page: Any, request: HttpRequest, key: int) -> HttpResponse:
    """Show what would be done to the runs that wait under a pattern; posted with a reason, do it and tell of each."""
    pattern = FailurePattern.objects.filter(pk=key).first()
    if pattern is None:
        raise Http404(f"there is no pattern {key}")
    if not request.user.has_perm("recovery.decide_candidate"):
        raise PermissionDenied
    form = RecoverForm(request.POST or None)
    results: list[Result] | None = None
    if request.method == "POST" and form.is_valid():
        results = _recovered(pattern, form.cleaned_data, by=request.user.get_username())
        done = sum(one.is_done for one in results)
        said = f"Recovered {done} of {words.counted(len(results), 'failed run')}: {form.cleaned_data['reason']}"
        page.log_change(request, pattern, said)
    context = {
        **page.admin_site.each_context(request),
        "title": f"Recover the failed runs of {pattern.name}",
        "pattern": pattern,
        "form": form,
        "opts": page.opts,
        "media": page.media,
        "at_once": AT_ONCE,
        "suggested": _suggested(pattern),
        "left": decisions.waiting_under(pattern).count(),
        "results": None if results is None else _told(results),
        "page_of": reverse("admin:recovery_failurepattern_change", args=[pattern.pk]),
    }
    return TemplateResponse(request, "admin/recovery/recover.html", context)


def _recovered(pattern: FailurePattern, given: dict[str, Any], *, by: str) -> list[Result]:
    verb: Callable[..., RecoveryCandidate] = decisions.approve_and_apply
    if given["action"]:
        verb = partial(decisions.change_and_apply, action=given["action"])
    return decisions.bulk(verb, pattern, by=by, reason=given["reason"], limit=AT_ONCE)


def _suggested(pattern: FailurePattern) -> list[dict[str, Any]]:
    """Return what is suggested for how many of the runs that would be next."""
    following = decisions.waiting_under(pattern).values("pk")[:AT_ONCE]
    counts = RecoveryCandidate.objects.filter(pk__in=following).values("action").annotate(count=Count("pk"))
    does = dict(SuggestionAction.objects.values_list("name", "description"))
    return [
        {"count": words.counted(row["count"], "run"), "action": row["action"], "does": does.get(row["action"], "")}
        for row in counts.order_by("-count")
    ]


def _told(results: list[Result]) -> dict[str, Any]:
    found = RecoveryCandidate.objects.in_bulk([one.id for one in results])
    rows = [_row(one, found[one.id]) for one in results if one.id in found]
    done = sum(one.is_done for one in results)
    return {"rows": rows, "text": f"{done} of {words.counted(len(results), 'run')} done"}


def _row(result: Result, candidate: RecoveryCandidate) -> dict[str, Any]:
    return {
        "run": shown.link("run", candidate.recovery_run_id or candidate.run_id),
        "candidate": reverse("admin:recovery_recoverycandidate_change", args=[candidate.pk]),
        "state": shown.state(candidate.state),
        "is_done": result.is_done,
        "text": result.text,
    }
