"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import dead_letters, handlers, handlings

__all__ = ["dead_letters", "handlers", "handlings"]
