"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import advice, candidates, exports, locks, suggestion_actions, webhooks

__all__ = ["advice", "candidates", "exports", "locks", "suggestion_actions", "webhooks"]
