"""Pages for graduation's tables, one module per model: read-only, with the few changes that a person may make."""

from graduation.admin import envelopes, gate, killswitch, objectives

__all__ = ["envelopes", "gate", "killswitch", "objectives"]
