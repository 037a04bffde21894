"""Pages of errors in the room's look, in words: they ask no database, for that may be what is away."""

from __future__ import annotations

import sys
from typing import Any

from django.db import InterfaceError, OperationalError
from django.http import HttpRequest, HttpResponse
from django.template.loader import render_to_string

AWAY = (
    "The database does not answer",
    "Nothing is lost: runs go on as soon as it is back. <code>manage.py doctor</code> says what is wrong.",
)
BROKEN = (
    "This page has failed",
    "Nothing was changed by it beyond what its own log says. The error stands in the log of the web server.",
)


def not_found(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django hands it over
    """Answer 404: what was asked for is not there."""
    said = exception.args[0] if exception.args and isinstance(exception.args[0], str) else ""
    text = said or "There is no page at this address. It may have been removed; a search by its id finds what is left."
    return _page(404, "Not found", text)


def forbidden(request: HttpRequest, exception: Exception) -> HttpResponse:  # noqa: ARG001 - Django hands it over
    """Answer 403: the reader may not."""
    text = str(exception) or "Your account may not see or do this. Whoever manages accounts here can let you."
    return _page(403, "Not allowed", text)


def refused_form(request: HttpRequest, reason: str = "") -> HttpResponse:  # noqa: ARG001 - Django hands it over
    """Answer a form whose token is not right."""
    text = "This form was too old or did not come from here, so that nothing was done: go back and load the page anew."
    return _page(403, "Not accepted", text)


def failed(request: HttpRequest) -> HttpResponse:  # noqa: ARG001 - Django hands it over
    """Answer 500, or 503 where the database is away."""
    is_away = isinstance(sys.exc_info()[1], OperationalError | InterfaceError)
    title, text = AWAY if is_away else BROKEN
    return _page(503 if is_away else 500, title, text, is_safe=True)


def _page(status: int, title: str, text: str, **more: Any) -> HttpResponse:
    context = {"status": status, "title": title, "text": text, **more}
    return HttpResponse(render_to_string("admin/room/error.html", context), status=status)
