"""Pages of one row that tell what it is: what may be done about it on top, its parts below, all that is stored last.

What may be done is named by the list's own actions, so that a button and the list ask for the same permission and the
same reason; afterwards the reader is back on the page.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import reverse

from execution.admin.lists import PlainAdmin
from execution.room.parts import gathered

STORED = {"classes": ["collapse"]}
"""How the fields that the parts have told already are folded away."""


class ToldAdmin(PlainAdmin):
    """A page that tells what a row is, with buttons for what may be done."""

    change_form_template = "admin/room/told.html"
    main: Sequence[str] = ()
    """The actions that whoever opens the page most likely comes for."""
    stored: Sequence[str] = ()
    """Everything that is stored, for who looks for it: folded."""

    def parts(self, request: HttpRequest, row: Any) -> dict[str, Any]:
        """Return what the page shows: each part bounded, each by an index."""
        return {}

    def possible(self, row: Any) -> Sequence[str]:
        """Name the actions that make sense as the row stands, the likeliest first."""
        return ()

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Fold what the parts have told already."""
        if obj is None or not self.stored:
            return super().get_fieldsets(request, obj)
        return [("All that is stored", {"fields": list(self.stored), **STORED})]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        row = context.get("original")
        if row is not None:
            context["verbs"] = list(self.verbs(request, row))
            context["here"] = request.get_full_path()
            context["doorway"] = reverse(f"admin:{self.opts.app_label}_{self.opts.model_name}_changelist")
            context["more_parts"] = list(_brought(request, self.opts.label_lower, row))
            context |= self.parts(request, row)
        return super().render_change_form(request, context, *args, **kwargs)

    def verbs(self, request: HttpRequest, row: Any) -> Iterator[dict[str, Any]]:
        """Yield the buttons that this reader may press."""
        allowed = {name: found[0] for name, found in self.get_actions(request).items() if found}
        for name in (name for name in self.possible(row) if name in allowed):
            function = allowed[name]
            yield {
                "name": name,
                "label": getattr(function, "label", name.capitalize()) + (" …" if hasattr(function, "asks") else ""),
                "is_grave": getattr(function, "is_grave", False),
                "is_main": name in self.main,
            }


def _brought(request: HttpRequest, model: str, row: Any) -> Iterator[dict[str, Any]]:
    """Yield the parts that other apps bring to this page, with what they read."""
    for part in gathered("PARTS"):
        if part.page == model and (not part.permission or request.user.has_perm(part.permission)):
            yield {"template": part.template, **part.read(request, row)}
