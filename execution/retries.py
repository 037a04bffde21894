"""From an error to its kind, and from the kind to a delay: a pure decision.

Transient and unknown errors are tried again after `min(base * 2 ** n, cap)` with full jitter, or after what the
server asked for; permanent ones fail at once. Every delay becomes a stored timer.
"""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from execution import conf, tunables
from execution.exceptions import (
    ChildFailed,
    EffectUnknown,
    ExpressionFailed,
    GateClosed,
    GateRefused,
    GateTimedOut,
    InputInvalid,
    JobUnknown,
    LedgerAway,
    NotJson,
    OptionInvalid,
    OutputInvalid,
    PoisonStep,
    PriceUnknown,
    ReplayDiverged,
    SkillUnknown,
    StepNeeded,
    TimeboxPassed,
    TokenMissing,
    TokenReused,
    ValueTooLarge,
    WaitTimeout,
    WorkflowUnknown,
    WorkflowUnplayable,
)

TRANSIENT, PERMANENT, RESOURCE, UNKNOWN = "transient", "permanent", "resource", "unknown"
KINDS = (TRANSIENT, PERMANENT, RESOURCE, UNKNOWN)

_KNOWN: dict[type[BaseException], str] = {
    ConnectionError: TRANSIENT,
    TimeoutError: TRANSIENT,
    InterruptedError: TRANSIENT,
    MemoryError: RESOURCE,
    PermissionError: PERMANENT,
    FileNotFoundError: PERMANENT,
    TypeError: PERMANENT,
    json.JSONDecodeError: UNKNOWN,
    ValueError: PERMANENT,
    LookupError: PERMANENT,
    AttributeError: PERMANENT,
    NameError: PERMANENT,
    ImportError: PERMANENT,
    SyntaxError: PERMANENT,
    ArithmeticError: PERMANENT,
    AssertionError: PERMANENT,
    NotImplementedError: PERMANENT,
    LedgerAway: TRANSIENT,
    InputInvalid: PERMANENT,
    OutputInvalid: PERMANENT,
    NotJson: PERMANENT,
    ValueTooLarge: PERMANENT,
    TokenReused: PERMANENT,
    TokenMissing: PERMANENT,
    ReplayDiverged: PERMANENT,
    SkillUnknown: PERMANENT,
    JobUnknown: PERMANENT,
    StepNeeded: PERMANENT,
    PriceUnknown: PERMANENT,
    TimeboxPassed: PERMANENT,
    PoisonStep: PERMANENT,
    WaitTimeout: PERMANENT,
    GateTimedOut: PERMANENT,
    ChildFailed: PERMANENT,
    EffectUnknown: PERMANENT,
    ExpressionFailed: PERMANENT,
    GateClosed: PERMANENT,
    GateRefused: PERMANENT,
    OptionInvalid: PERMANENT,
    WorkflowUnknown: PERMANENT,
    WorkflowUnplayable: PERMANENT,
}
_TRANSIENT_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_NOT_REFUSED = frozenset({408, 409})
"""A time-out and a conflict: it may have been done, by this call or an earlier one."""
_TRANSIENT_NAMES = frozenset(
    {"Timeout", "TimeoutException", "ConnectError", "NetworkError", "RateLimitError", "APIConnectionError"}
)
_rules: list[Callable[[BaseException], str | None]] = []


def register(error: type[BaseException], kind: str) -> None:
    """Say what kind an exception class has, for its subclasses too."""
    if kind not in KINDS:
        raise ValueError(f"an error's kind is one of {', '.join(KINDS)}, not {kind!r}")
    _KNOWN[error] = kind


def register_rule(rule: Callable[[BaseException], str | None]) -> None:
    """Add a function that is asked for an error's kind first; it returns None where it has no opinion."""
    _rules.append(rule)


def kind_of(error: BaseException, overrides: dict[str, str] | None = None) -> str:
    """Return an error's kind."""
    names = [cls.__name__ for cls in type(error).__mro__]
    for name in names:
        if overrides and name in overrides:
            return overrides[name]
    for rule in _rules:
        kind = rule(error)
        if kind is not None:
            return kind
    status = _status(error)
    if status is not None:
        return TRANSIENT if status in _TRANSIENT_STATUS or status >= 500 else PERMANENT
    for cls in type(error).__mro__:
        if cls in _KNOWN:
            return _KNOWN[cls]
    if _TRANSIENT_NAMES.intersection(names):
        return TRANSIENT
    return UNKNOWN


def is_refusal(error: BaseException) -> bool:
    """Tell whether an error says for sure that nothing was done: the server refused, or was never reached."""
    status = _status(error)
    return isinstance(error, ConnectionRefusedError) or (
        status is not None and 400 <= status < 500 and status not in _NOT_REFUSED
    )


def _status(error: BaseException) -> int | None:
    """Return the HTTP status that an error carries, whichever client raised it."""
    response = getattr(error, "response", None)
    for holder in (error, response):
        status = getattr(holder, "status_code", None) or getattr(holder, "status", None)
        if isinstance(status, int) and 400 <= status <= 599:
            return status
    return None


def retry_after(error: BaseException, now: datetime | None = None) -> float | None:
    """Return the seconds that the server asked to wait, if it did."""
    headers = getattr(getattr(error, "response", None), "headers", None) or getattr(error, "headers", None)
    given = getattr(error, "retry_after", None)
    if given is None and headers is not None:
        try:
            given = headers.get("Retry-After") or headers.get("retry-after")
        except AttributeError:
            return None
    if given is None:
        return None
    try:
        return max(0.0, float(given))
    except (TypeError, ValueError):
        pass
    try:
        return max(0.0, (parsedate_to_datetime(str(given)) - (now or datetime.now(UTC))).total_seconds())
    except (TypeError, ValueError):
        return None


@dataclass(frozen=True, slots=True, kw_only=True)
class Policy:
    """How often, and how slowly, a skill is tried again."""

    retries: int
    base_seconds: float
    cap_seconds: float
    kinds: dict[str, str]

    @classmethod
    def of(cls, options: dict[str, Any], skill: str = "") -> Policy:
        """Read the policy that a step took from its skill, what is tuned and the settings filling the gaps."""
        return cls(
            retries=options.get("retries", conf.current().retries),
            base_seconds=tunables.value("retries.base", skill, own=options.get("retry_base")),
            cap_seconds=tunables.value("retries.cap", skill, own=options.get("retry_cap")),
            kinds=options.get("error_kinds", {}),
        )


def delay_of(
    error: BaseException, policy: Policy, retry_count: int, draw: Callable[[], float] = random.random
) -> float | None:
    """Return the seconds to wait before the next try, or None when there is none."""
    if kind_of(error, policy.kinds) in (PERMANENT, RESOURCE) or retry_count >= policy.retries:
        return None
    asked = retry_after(error)
    if asked is not None:
        return min(asked, 86400.0)
    return min(policy.base_seconds * 2.0**retry_count, policy.cap_seconds) * draw()
