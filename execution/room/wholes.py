"""Values in full, on demand: a page shows the beginning of a large one, and fetches the rest when somebody asks."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any

from django.apps import apps
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.safestring import SafeString

from execution.admin import shown

_FIELDS: Mapping[str, tuple[str, str]] = {
    "run-input": ("run", "input"),
    "step-input": ("step", "input"),
    "step-output": ("step", "output"),
    "signal-data": ("signal", "data"),
    "effect-intent": ("effect", "intent"),
    "effect-receipt": ("effect", "receipt"),
}
"""What may be asked for: a model of the ledger, and its field."""


def value(name: str, row: Any) -> SafeString:
    """Show a row's value by its beginning, with the way to the rest."""
    packed = getattr(row, _FIELDS[name][1])
    return shown.value(packed, whole=reverse("admin:execution_whole_value", args=[name, row.pk]))


def show(request: HttpRequest, name: str, key: uuid.UUID) -> HttpResponse:
    """Answer with one value in full."""
    if name not in _FIELDS:
        raise Http404(f"there is no value {name!r}")
    model, field = _FIELDS[name]
    if not request.user.has_perm(f"execution.view_{model}"):
        raise PermissionDenied
    found = apps.get_model("execution", model)._default_manager.filter(pk=key).values_list(field).first()  # noqa: SLF001
    if found is None:
        raise Http404(f"there is no {model} {key}")
    return HttpResponse(shown.whole_value(found[0]))
