"""What can go wrong in recovery, one class per situation that a caller might handle."""

from __future__ import annotations

from typing import Any

from execution.exceptions import CeleriacError


class RecoveryError(CeleriacError):
    """The base of recovery's errors."""


class NotFound(RecoveryError):
    """There is no such failure, pattern, candidate, endpoint, letter or incident."""

    def __init__(self, noun: str, name: Any, hint: str = "") -> None:
        super().__init__(noun, name, hint)
        self.noun, self.name, self.hint = noun, name, hint

    def __str__(self) -> str:
        return f"there is no {self.noun} {self.name}" + (f"; {self.hint}" if self.hint else "")


class AlreadyDecided(RecoveryError):
    """Somebody else was earlier; nothing was changed."""


class Late(RecoveryError):
    """The lease has gone to somebody else: what was found is not written."""


class ExportLost(RecoveryError):
    """An export's bytes are not where they were kept, or no more what they were."""


class ExportDamaged(RecoveryError):
    """The object in the storage is not what was exported."""


class ExportsMisconfigured(RecoveryError):
    """The settings name no storage that exports could go to."""


class CredentialsMissing(RecoveryError):
    """Vault gives no credentials, and those it gave have expired."""
