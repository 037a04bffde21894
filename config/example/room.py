"""What the example brings to the room: the offer to load it into an empty ledger, and to remove it again."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect

from config.example import newspaper
from execution import words
from execution.models import Run
from execution.room.parts import Page, Panel

MAY = "execution.operate_run"


def _offer(_: HttpRequest) -> dict[str, Any]:
    is_loaded = newspaper.is_loaded()
    return {"is_loaded": is_loaded, "is_offered": not is_loaded and not Run.objects.exists()}


def _change(request: HttpRequest) -> HttpResponse:
    """Load the example, or remove it."""
    if request.method != "POST":
        return HttpResponseNotAllowed(["POST"])
    if not request.user.has_perm(MAY):
        raise PermissionDenied
    if request.POST.get("verb") == "remove":
        said = f"The example is removed, and {words.counted(newspaper.remove(), 'run')} with it."
    else:
        said = f"The example is loaded, with {words.counted(newspaper.load(), 'run')}: the workers begin."
    messages.success(request, said)
    return redirect("admin:index")


PANELS = [
    Panel(name="example", place=1, template="admin/example/offer.html", permission=MAY, read=_offer),
]
PAGES = [Page(path="example/", name="example", view=_change)]
