"""What can go wrong in graduation, one class per situation that a caller might handle."""

from __future__ import annotations

from execution.exceptions import CeleriacError


class GraduationError(CeleriacError):
    """The base of graduation's errors."""


class EnvelopeRejected(GraduationError):
    """The coordinator does not let an envelope apply; the row says why."""


class ObjectivesInvalid(GraduationError):
    """Some objectives cannot be read; nothing was changed."""


class Overtaken(GraduationError):
    """Another evaluator was faster; what this one found is not written."""


class ExtraMissing(GraduationError):
    """What this needs comes with an extra that is not installed."""
