"""Stopping: the page of the kill switch. The word is typed, then what will happen is confirmed; nothing in one step."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import LogEntry
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import reverse

from execution import words
from execution.admin import shown
from execution.admin.reasons import ReasonForm
from execution.exceptions import CeleriacError
from execution.room.parts import Banner
from graduation import envelopes
from graduation.models import Envelope, EnvelopeState, KillSwitch

WORD = "STOP"
ENGAGE, RELEASE, VIEW = (
    "graduation.operate_envelope",
    "graduation.release_killswitch",
    "graduation.view_killswitch",
)
_SHOWN_MOST = 50
_PAST_MOST = 20


class EngageForm(ReasonForm):
    """The word, and why."""

    word = forms.CharField(
        label=f"Type {WORD}", max_length=20, widget=forms.TextInput(attrs={"autocomplete": "off"}),
        help_text="In capital letters. Nothing happens yet: the next page tells what will.",
    )  # fmt: skip
    field_order = ("word", "reason")

    def clean_word(self) -> str:
        """Take the word alone."""
        given = str(self.cleaned_data["word"])
        if given != WORD:
            raise forms.ValidationError(f"This is not the word: type {WORD}.")
        return given


def page(request: HttpRequest) -> HttpResponse:
    """Show the switch; engage it when the word was typed and what follows was confirmed, or release it."""
    if not request.user.has_perm(VIEW):
        raise PermissionDenied
    verb = request.POST.get("verb", "") if request.method == "POST" else ""
    if verb in ("ask", "engage"):
        return _engage(request, is_confirmed=verb == "engage")
    if verb == "release":
        return _release(request)
    return _shown(request)


def _engage(request: HttpRequest, *, is_confirmed: bool) -> HttpResponse:
    if not request.user.has_perm(ENGAGE):
        raise PermissionDenied
    form = EngageForm(request.POST)
    if not form.is_valid():
        return _shown(request, engage=form)
    if not is_confirmed:
        return _shown(request, confirm=form)
    reason = form.cleaned_data["reason"]
    count = envelopes.engage(by=request.user.get_username(), reason=reason)
    _log(request, f"Engaged: {reason}")
    said = f"The kill switch is engaged: {words.counted(count, 'envelope')} reverted, and no new one is let in."
    messages.warning(request, said)
    return HttpResponseRedirect(reverse("admin:kill_switch"))


def _release(request: HttpRequest) -> HttpResponse:
    if not request.user.has_perm(RELEASE):
        raise PermissionDenied
    form = ReasonForm(request.POST)
    if not form.is_valid():
        return _shown(request, release=form)
    try:
        envelopes.release(by=request.user.get_username(), reason=form.cleaned_data["reason"])
    except CeleriacError as error:
        messages.warning(request, str(error))
    else:
        _log(request, f"Released: {form.cleaned_data['reason']}")
        messages.success(request, "The kill switch is released: envelopes may apply again. What was reverted stays so.")
    return HttpResponseRedirect(reverse("admin:kill_switch"))


def _shown(request: HttpRequest, **forms_given: Any) -> HttpResponse:
    switch = envelopes.switch()
    active = Envelope.objects.filter(state=EnvelopeState.ACTIVE).order_by("until")[:_SHOWN_MOST]
    context = {
        **admin.site.each_context(request),
        "title": "Kill switch",
        "switch": switch,
        "since": shown.age(switch.engaged_at) if switch.is_engaged else "",
        "released": shown.age(switch.released_at) if switch.released_at else "",
        "active": [_row(one) for one in active],
        "may_engage": request.user.has_perm(ENGAGE),
        "may_release": request.user.has_perm(RELEASE),
        "engage_form": forms_given.get("engage") or EngageForm(),
        "release_form": forms_given.get("release") or ReasonForm(),
        "confirm": forms_given.get("confirm"),
        "word": WORD,
        "history": _history(),
    }
    return TemplateResponse(request, "admin/graduation/killswitch.html", context)


def _row(one: Envelope) -> dict[str, Any]:
    before = "?" if one.baseline is None else f"{one.baseline:g}"
    return {
        "url": reverse("admin:graduation_envelope_change", args=[one.pk]),
        "what": one.tunable + (f" of {one.subject}" if one.subject else ""),
        "change": f"{one.value:g} goes back to {before}",
        "until": shown.age(one.until),
        "by": one.by,
    }


def _log(request: HttpRequest, text: str) -> None:
    """Keep who and why in the admin's history."""
    admin.site.get_model_admin(KillSwitch).log_change(request, envelopes.switch(), text)


def _history() -> list[dict[str, Any]]:
    from django.contrib.contenttypes.models import ContentType

    kind = ContentType.objects.get_for_model(KillSwitch)
    rows = LogEntry.objects.filter(content_type=kind).select_related("user").order_by("-id")[:_PAST_MOST]
    return [
        {"at": shown.age(one.action_time), "who": one.user.get_username(), "text": one.get_change_message()}
        for one in rows
    ]


def banner(request: HttpRequest) -> Banner | None:
    """Tell every reader while the switch is engaged."""
    switch = KillSwitch.objects.filter(pk=1, is_engaged=True).first()
    if switch is None:
        return None
    why = f": {words.one_line(switch.reason, 120)}" if switch.reason else ""
    return Banner(
        title="The kill switch is engaged.",
        text=f"Every envelope was reverted and none is let in. By {switch.engaged_by or 'somebody'}{why}",
        url=reverse("admin:kill_switch") if request.user.has_perm(VIEW) else "",
        link="Look at it",
    )
