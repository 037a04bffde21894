"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import incidents

__all__ = ["incidents"]
