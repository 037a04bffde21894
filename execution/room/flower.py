"""Flower through the project's own web: behind the admin's login and a permission, and never anything but Flower.

Only `CELERIAC["flower_url"]` on this machine is asked, under the path that was asked for here; of a request only what
Flower needs goes on, and never the admin's cookies. Flower can end workers and revoke tasks, so that it is for those
who may operate runs. It must have been started with the same prefix: `celery flower --url_prefix=flower`.
"""

from __future__ import annotations

import base64
import http.client
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect, StreamingHttpResponse
from django.template.response import TemplateResponse
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.views.decorators.csrf import csrf_exempt

from execution import conf

PERMISSION = "execution.operate_run"
PATIENCE_SECONDS = 10.0
CHUNK_BYTES = 64 * 1024
PAGE_MOST_BYTES = 4 * 1024 * 1024
BODY_MOST_BYTES = 1024 * 1024
LOOPBACK = ("127.0.0.1", "localhost", "::1")
METHODS = ("GET", "HEAD", "POST")

_PASSED_ON = ("Accept", "Accept-Language", "Content-Type", "X-Requested-With", "If-None-Match", "If-Modified-Since")
_GIVEN_BACK = ("Content-Type", "Cache-Control", "Etag", "Last-Modified", "Expires", "X-Content-Type-Options")
_TASK = re.compile(r"/task/([^/?#]{1,200})$")


class Away(Exception):
    """Flower could not be asked; the text says why."""


def show(request: HttpRequest, rest: str = "") -> HttpResponseBase:  # noqa: ARG001 - the whole path goes on
    """Pass a request on to Flower, and its answer back."""
    if not request.user.has_perm(PERMISSION):
        raise PermissionDenied("Flower can end workers and revoke tasks: the permission to operate runs is wanted.")
    if request.method not in METHODS:
        return HttpResponse("Flower is asked by GET, HEAD and POST.\n", status=405, content_type="text/plain")
    if request.method == "POST" and not _is_from_here(request):
        raise PermissionDenied("This did not come from Flower's own page.")
    try:
        return _answered(request, _ask(request))
    except Away as away:
        context = {**admin.site.each_context(request), "title": "Flower", "reason": str(away), "url": _url()}
        return TemplateResponse(request, "admin/room/flower.html", context, status=503)


flower = admin.site.admin_view(csrf_exempt(show))
"""Flower's pages carry no token of Django's: where a request comes from is checked instead."""


def opened(request: HttpRequest) -> HttpResponseRedirect:  # noqa: ARG001 - a view takes it
    """Lead from the room to Flower."""
    return HttpResponseRedirect(address())


def address(task: object = "") -> str:
    """Return where Flower is, or its page of a task, whose id is a step's; empty where it is not served."""
    try:
        root = reverse("celeriac-flower")
    except NoReverseMatch:
        return ""
    return f"{root}task/{task}" if task else root


def _url() -> str:
    return conf.current().flower_url


def _is_from_here(request: HttpRequest) -> bool:
    site = request.headers.get("Sec-Fetch-Site", "")
    origin = urlsplit(request.headers.get("Origin", "")).netloc
    return site in ("", "same-origin") and origin == request.get_host()


def _ask(request: HttpRequest) -> Pieces:
    target = urlsplit(_url())
    if target.scheme != "http" or target.hostname not in LOOPBACK:
        raise Away(f"CELERIAC['flower_url'] is {_url()!r}; it must be on this machine, as http://127.0.0.1:5555")
    asked = http.client.HTTPConnection(target.hostname, target.port or 80, timeout=PATIENCE_SECONDS)
    body = request.read(BODY_MOST_BYTES) if request.method == "POST" else None
    try:
        asked.request(request.method or "GET", request.get_full_path(), body=body, headers=_headers(request))
        return Pieces(asked, asked.getresponse())
    except (OSError, http.client.HTTPException, ValueError) as error:
        asked.close()
        raise Away(f"it does not answer at {_url()}: {str(error) or type(error).__name__}") from error


def _headers(request: HttpRequest) -> dict[str, str]:
    headers = {name: request.headers[name] for name in _PASSED_ON if name in request.headers}
    headers |= {"Accept-Encoding": "identity", "Sec-Fetch-Site": "same-origin"}
    if account := conf.current().flower_account:
        headers["Authorization"] = f"Basic {base64.b64encode(account.encode()).decode()}"
    return headers


def _answered(request: HttpRequest, pieces: Pieces) -> HttpResponseBase:
    answer = pieces.answer
    given = {name: value for name in _GIVEN_BACK if (value := answer.getheader(name))}
    place = answer.getheader("Location", "")
    if place.startswith("/") and not place.startswith("//"):
        given["Location"] = place
    if answer.status == http.HTTPStatus.UNAUTHORIZED:
        pieces.close()
        raise Away("it wants an account: give its user and password as CELERIAC['flower_account'], 'user:password'")
    if answer.status in range(300, 400):
        pieces.close()
        return HttpResponse(status=answer.status, headers=given)
    if not given.get("Content-Type", "").startswith("text/html"):
        return StreamingHttpResponse(pieces, status=answer.status, headers=given)
    page = answer.read(PAGE_MOST_BYTES)
    pieces.close()
    return HttpResponse(page.replace(b"<main", _way_back(request) + b"<main", 1), status=answer.status, headers=given)


class Pieces:
    """An answer piece by piece; Django closes it, read or not."""

    def __init__(self, asked: http.client.HTTPConnection, answer: http.client.HTTPResponse) -> None:
        self.asked, self.answer = asked, answer

    def __iter__(self) -> Iterator[bytes]:
        """Read on until the end."""
        while piece := self.answer.read(CHUNK_BYTES):
            yield piece

    def close(self) -> None:
        """Let go of Flower."""
        self.answer.close()
        self.asked.close()


def _way_back(request: HttpRequest) -> bytes:
    """Return the line that leads from a page of Flower's back to the room, and from a task to its step."""
    home = format_html('<a href="{}">Back to the room</a>', reverse("admin:index"))
    task = _TASK.search(request.path)
    step = (
        format_html(' · <a href="{}">This task in the ledger</a>', reverse("admin:go", args=[task[1]])) if task else ""
    )
    return format_html('<nav class="container-fluid py-2 small" aria-label="Celeriac">{}{}</nav>', home, step).encode()
