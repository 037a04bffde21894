"""The stories of graduation's flows: each module has its own, by the flow's number, in STORIES."""

from importlib import import_module
from pkgutil import iter_modules


def stories():
    """Return the stories of every module here."""
    return {
        number: story
        for module in iter_modules(__path__)
        for number, story in import_module(f"{__name__}.{module.name}").STORIES.items()
    }
