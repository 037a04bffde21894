"""Pages for graduation's tables, one module per model: read-only, with the few changes that a person may make."""

from graduation.admin import envelopes, gate, graduation, killswitch, ladder, objectives, offers

__all__ = ["envelopes", "gate", "graduation", "killswitch", "ladder", "objectives", "offers"]
