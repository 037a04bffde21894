"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import candidates, suggestion_actions

__all__ = ["candidates", "suggestion_actions"]
