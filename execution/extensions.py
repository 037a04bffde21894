"""Extensions: what apps above add to what execution shows, named on their AppConfig and imported when it is asked for.

An app above says `celeriac_metrics = "recovery.metrics.PARTS"` or `celeriac_looks = "recovery.looks.LOOKS"`: a tuple of
what `execution.metrics` and `execution.doctor` have as well. Execution knows none of these apps.
"""

from __future__ import annotations

from typing import Any

from django.apps import apps
from django.utils.module_loading import import_string


def named(attribute: str) -> list[Any]:
    """Return what installed apps add under a name, in the order of the apps."""
    places = [getattr(app, attribute, "") for app in apps.get_app_configs()]
    return [item for place in places if place for item in import_string(place)]
