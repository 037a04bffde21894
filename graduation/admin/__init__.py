"""Pages for graduation's tables, one module per model: read-only, with the few changes that a person may make."""

from graduation.admin import envelopes, graduation, killswitch, ladder, offers

__all__ = ["envelopes", "graduation", "killswitch", "ladder", "offers"]
