"""Actions that ask for a reason on a page of their own, report what was done and skipped, and are audited.

Whoever comes from a page of one row is sent back to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.utils.http import url_has_allowed_host_and_scheme

from execution import words
from execution.exceptions import CeleriacError

MOST = 500
NAMED_MOST = 20

Verb = Callable[..., Any]
Then = Callable[[Any, HttpRequest, list[tuple[Any, Any]]], HttpResponse | None]
"""Answers with what the verb has returned for each row, where that is for the reader's eyes once."""


class ReasonForm(forms.Form):
    """Why an operator does it."""

    reason = forms.CharField(
        label="Reason",
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 3, "cols": 80, "autofocus": True}),
        help_text="It is kept in the log and in the admin's history.",
    )


def action(
    name: str,
    verb: Verb,
    *,
    done: str,
    permission: str,
    noun: str = "run",
    is_grave: bool = False,
    form_class: type[ReasonForm] = ReasonForm,
    label: str = "",
    tells: str | Callable[[list[Any]], str] = "",
    then: Then | None = None,
) -> Callable[[Any, HttpRequest, QuerySet[Any]], HttpResponse | None]:
    """Return an admin action that asks for a reason and calls `verb(object, by=..., reason=...)` for each object.

    A form that asks for more hands that to the verb by name. `label` is what its button says, and `tells` what will
    happen: both in words for whoever is about to press it.
    """

    @admin.action(description=f"{label or name.capitalize()}: the selected {noun}s", permissions=[permission])
    def asked(page: Any, request: HttpRequest, rows: QuerySet[Any]) -> HttpResponse | None:
        chosen = list(rows.order_by("pk")[: MOST + 1])
        if len(chosen) > MOST:
            page.message_user(request, f"At most {MOST} at once: nothing was done. Narrow the list.", messages.ERROR)
            return None
        form = form_class(request.POST) if "reason" in request.POST else form_class(initial=request.POST.dict())
        if form.is_valid():
            results = _do(page, request, chosen, verb, done=done, given=form.cleaned_data, noun=noun)
            return then(page, request, results) if then and results else back(request)
        context = {
            **page.admin_site.each_context(request),
            "title": f"{label or name.capitalize()}: {words.counted(len(chosen), noun)}",
            "tells": tells if isinstance(tells, str) else tells(chosen),
            "button": label or name.capitalize(),
            "back": request.POST.get("back", ""),
            "form": form,
            "chosen": chosen[:NAMED_MOST],
            "more": max(0, len(chosen) - NAMED_MOST),
            "selected": [row.pk for row in chosen],
            "action": request.POST.get("action"),
            "verb": name,
            "is_grave": is_grave,
            "opts": page.opts,
            "media": page.media,
        }
        return TemplateResponse(request, "admin/execution/reason.html", context)

    asked.__name__ = name
    about = {"label": label or name.capitalize(), "is_grave": is_grave, "asks": True}
    asked.__dict__.update(about)
    return asked


def back(request: HttpRequest) -> HttpResponse | None:
    """Send the reader back to the page of this site that it came from; from the list there is none to name."""
    wanted = request.POST.get("back", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, allowed_hosts={request.get_host()})
    return HttpResponseRedirect(wanted) if wanted and is_ours else None


def _do(
    page: Any, request: HttpRequest, chosen: list[Any], verb: Verb, *, done: str, given: dict[str, Any], noun: str
) -> list[tuple[Any, Any]]:
    """Do it to each, and say what was done and what was skipped, and why; returns each row with what came of it."""
    skipped, results = [], []
    for row in chosen:
        try:
            results.append((row, verb(row, by=request.user.get_username(), **given)))
        except CeleriacError as error:
            skipped.append(str(error))
        else:
            page.log_change(request, row, f"{done.capitalize()}: {given['reason']}")
    if results:
        page.message_user(request, f"{words.counted(len(results), noun)} {done}.", messages.SUCCESS)
    if skipped:
        said = "; ".join(skipped[:5]) + (f"; and {len(skipped) - 5} more" if len(skipped) > 5 else "")
        page.message_user(request, f"{words.counted(len(skipped), noun)} skipped: {said}", messages.WARNING)
    return results
