"""The room as Django's admin site: its home page, its own pages, its search, and one look for every page."""

from __future__ import annotations

import time
from typing import Any

from django.core.paginator import Paginator
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path
from unfold.sites import UnfoldAdminSite

from execution.room.parts import gathered


class RoomSite(UnfoldAdminSite):
    """The admin site of a project that works with Celeriac."""

    index_template = "admin/room/home.html"
    index_title = "Home"

    def register(self, model_or_iterable: Any, admin_class: Any = None, **options: Any) -> None:
        """Register a model; another app's page gets the room's look."""
        super().register(model_or_iterable, _in_this_look(admin_class), **options)

    def extra_urls(self) -> list[URLPattern]:
        """Return the pages that belong to no model."""
        return [path(page.path, self.admin_view(page.view), name=page.name) for page in gathered("PAGES")]

    def index(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Show the home page."""
        from execution.room import home

        answer: HttpResponse = super().index(request, {**home.context(request), **(extra_context or {})})
        return answer

    def search(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Answer the search palette, always afresh: what is searched for may have begun a second ago."""
        from execution.room import searching

        began = time.monotonic()
        term = request.GET.get("s", "").strip()
        if not term:
            return HttpResponse()
        pages = Paginator(searching.results(request, term), searching.MOST)
        context = {
            "page_obj": pages,
            "results": pages.page(1),
            "page_counter": 0,
            "execution_time": time.monotonic() - began,
        }
        return TemplateResponse(
            request, "unfold/helpers/command_results.html", context, headers={"HX-Trigger": "search"}
        )


def _in_this_look(admin_class: Any) -> Any:
    """Return an admin class that looks like the room; Django's own default and other apps' classes do not yet."""
    from unfold.admin import ModelAdmin

    if admin_class is None:
        return ModelAdmin
    if issubclass(admin_class, ModelAdmin):
        return admin_class
    return type(admin_class.__name__, (_Careful, admin_class, ModelAdmin), {"__module__": admin_class.__module__})


class _Careful:
    """Another app's page: who may only look is offered no action, whatever Django would let a viewer do."""

    def get_actions(self, request: HttpRequest) -> dict[str, Any]:
        """Return the actions for who may change something."""
        page: Any = super()
        found: dict[str, Any] = page.get_actions(request)
        return found if page.has_change_permission(request) else {}
