"""What can go wrong in graduation, one class per situation that a caller might handle."""

from __future__ import annotations

from typing import Any

from execution.exceptions import CeleriacError


class GraduationError(CeleriacError):
    """The base of graduation's errors."""


class EnvelopeRejected(GraduationError):
    """The coordinator does not let an envelope apply; the row says why."""


class ObjectivesInvalid(GraduationError):
    """Some objectives cannot be read, and nothing was changed; `findings` tell each place in their files."""

    def __init__(self, findings: Any) -> None:
        super().__init__(findings)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "the objectives are not right:\n" + "\n".join(str(finding) for finding in self.findings)


class ObjectiveUnknown(GraduationError):
    """There is no objective of this name."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name, hint)
        self.name, self.hint = name, hint

    def __str__(self) -> str:
        return f"there is no objective {self.name!r}{self.hint or '; `manage.py objectives list` shows them'}"


class OriginFailed(GraduationError):
    """What counts an objective did not answer, or answered what cannot be counted."""


class Overtaken(GraduationError):
    """Another evaluator was faster; what this one found is not written."""


class ExtraMissing(GraduationError):
    """What this needs comes with an extra that is not installed."""
