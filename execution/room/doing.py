"""Doing something to one thing: a page that says what will happen, asks for what is needed and why, and does it.

What can be done is a `Verb`; the page checks the permission and the state, calls it, shows an error as words above the
form, and writes who did what and why into the admin's history.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from django import forms
from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.db import models
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse

from execution.admin.reasons import ReasonForm
from execution.exceptions import CeleriacError

Given = Mapping[str, Any]
About = list[tuple[str, Any]]
Form = type[forms.Form]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verb:
    """One thing to do: when it may be done, what is asked for, and who does it."""

    name: str
    title: str
    text: str
    """What it does, in a sentence or two."""
    done: str
    do: Callable[[Any, str, Given], Any]
    """Takes the thing, who does it and what the form brought; returns what is looked at next."""
    fits: Callable[[Any], bool]
    permission: str
    form: Callable[[Any, QueryDict], Form] = lambda thing, asked: ReasonForm  # noqa: ARG005 - the usual form
    about: Callable[[Any, QueryDict], About] = lambda thing, asked: []  # noqa: ARG005 - nothing more is shown
    is_general: bool = True
    """Whether its button stands at the top; others stand beside what they answer."""
    is_grave: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Button:
    """A way to a verb's page."""

    title: str
    url: str
    look: str = ""


def form_of(name: str, fields: Mapping[str, forms.Field]) -> Form:
    """Return a form of these fields, with the reason below them."""
    return type(name, (ReasonForm,), {**fields, "field_order": [*fields, "reason"]})


def reasoned(by: str, given: Given) -> dict[str, str]:
    """Return who and why, as verbs take it."""
    return {"by": by, "reason": given["reason"]}


def page_of(thing: models.Model) -> str:
    """Return the address of a thing's page."""
    about = thing._meta  # noqa: SLF001 - Django's documented name
    return reverse(f"admin:{about.app_label}_{about.model_name}_change", args=[thing.pk])


def address(thing: models.Model, verb: str) -> str:
    """Return the address at which something is done to a thing."""
    about = thing._meta  # noqa: SLF001 - Django's documented name
    return reverse(f"admin:{about.app_label}_{about.model_name}_do", args=[thing.pk, verb])


def buttons(thing: models.Model, verbs: Mapping[str, Verb], user: Any) -> list[Button]:
    """Return the buttons of what can be done to a thing as a whole, by this reader, now."""
    return [
        Button(title=verb.title, url=address(thing, verb.name), look="is-grave" if verb.is_grave else "")
        for verb in verbs.values()
        if verb.is_general and user.has_perm(verb.permission) and verb.fits(thing)
    ]


def answer(
    page: Any, request: HttpRequest, thing: models.Model | None, verbs: Mapping[str, Verb], name: str
) -> HttpResponse:
    """Show a verb's form, or do it."""
    if thing is None or name not in verbs:
        raise Http404("there is nothing of this id, or nothing of this name can be done to it")
    verb = verbs[name]
    if not request.user.has_perm(verb.permission):
        raise PermissionDenied
    if not verb.fits(thing):
        page.message_user(request, f"{_said(thing)}: this cannot be done now ({verb.title.lower()}).", messages.WARNING)
        return HttpResponseRedirect(page_of(thing))
    form = verb.form(thing, request.GET)(request.POST if request.method == "POST" else None)
    if form.is_valid():
        done = _do(page, request, thing, verb, form)
        if done is not None:
            return done
    return TemplateResponse(request, "admin/room/do.html", _shown(page, request, thing, verb, form))


def _do(page: Any, request: HttpRequest, thing: Any, verb: Verb, form: forms.Form) -> HttpResponse | None:
    """Do it and go on to what came of it; an error is put above the form."""
    given = form.cleaned_data
    try:
        found = verb.do(thing, request.user.get_username(), given)
    except CeleriacError as error:
        form.add_error(None, str(error))
        return None
    page.log_change(request, thing, f"{verb.done.capitalize()}: {given['reason']}")
    page.message_user(request, f"{_said(thing)} {verb.done}.", messages.SUCCESS)
    return HttpResponseRedirect(page_of(found))


def _said(thing: models.Model) -> str:
    text = str(thing)
    return text[:1].upper() + text[1:]


def _shown(page: Any, request: HttpRequest, thing: Any, verb: Verb, form: forms.Form) -> dict[str, Any]:
    return {
        **page.admin_site.each_context(request),
        "title": f"{verb.title} {thing}",
        "verb": verb,
        "form": form,
        "about": verb.about(thing, request.GET),
        "back": page_of(thing),
        "thing": thing,
        "opts": page.opts,
        "media": page.media,
    }
