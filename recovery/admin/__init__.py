"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import (
    advice,
    candidates,
    dead_letters,
    exports,
    failures,
    handlers,
    handlings,
    incidents,
    locks,
    patterns,
    suggestion_actions,
    webhooks,
)

__all__ = [
    "advice",
    "candidates",
    "dead_letters",
    "exports",
    "failures",
    "handlers",
    "handlings",
    "incidents",
    "locks",
    "patterns",
    "suggestion_actions",
    "webhooks",
]
