"""Pages for recovery's tables, one module per model: read-only, with the few changes that a person may make."""

from recovery.admin import advice, exports, failures, patterns

__all__ = ["advice", "exports", "failures", "patterns"]
