"""Aggregation: each night, failures that no pattern knows are grouped, and what came up often is proposed as a pattern.

A failure belongs to a night by the write: it is given its pattern where it has none, and what was given is counted. One
that is taken in meanwhile has none yet, and is looked at the next night. What a night found is kept with it, so that
running it again changes nothing and exports the same; a night that found nothing has nothing to keep.
"""

from __future__ import annotations

import re
import uuid
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from typing import Any

import structlog
from django.db import transaction
from django.db.models import Count, Q
from django.db.models.functions import Now
from django.utils import timezone

from execution import ledger
from execution.cycles import Cycle
from execution.exceptions import OptionInvalid
from recovery import conf, exports, failures, fingerprints, masks, patterns, templates
from recovery.mining import Template
from recovery.models import (
    Category,
    FailureMatch,
    FailureNight,
    FailurePattern,
    Mode,
    PatternState,
    RecoveryCandidate,
)

log = structlog.get_logger(__name__)

EXAMPLES_MOST = 3
_LOCK = "SELECT pg_advisory_xact_lock(hashtextextended('recovery.aggregation', 7001))"
_TAKE = """
    UPDATE recovery_failurematch f SET pattern_id = %s, how = 'fingerprint', confidence = %s
    WHERE f.pattern_id IS NULL AND f.fingerprint_version = %s AND f.fingerprint = ANY(%s) AND f.created_at >= %s
    RETURNING f.id, f.version, f.cost, f.failed_at"""


@dataclass(slots=True)
class Group:
    """Unmatched failures that have a fingerprint in common, or had one before their templates were merged."""

    version: int
    fingerprint: str
    is_by_message: bool
    error_type: str
    template: Template | None
    known: set[str] = field(default_factory=set)
    count: int = 0


def aggregate(night: date | None = None) -> FailureNight:
    """Do one night's aggregation, today's unless named, and export what it found.

    A night that has found something is done; one that has found nothing yet, as in a new project, is looked at again.
    """
    today = timezone.localdate()
    if night is not None and night > today:
        raise OptionInvalid(f"the night of {night} is still to come: done today, it would be missed; it is {today}")
    found = _aggregated(night or today)
    if found.exported_at is None:
        export(found)
    return found


@transaction.atomic
def _aggregated(night: date) -> FailureNight:
    ledger.ask_in_transaction(_LOCK)
    done = FailureNight.objects.filter(night=night).first()
    if done is not None and done.lines:
        return done
    templates.refresh()
    since = timezone.now() - timedelta(days=conf.current().aggregation_days)
    adopted, proposed = 0, []
    for group in _groups(since):
        pattern = _pattern_of(group)
        if pattern is not None:
            adopted += _adopt(pattern, group, since)
        elif group.count >= conf.current().aggregation_least:
            proposed.append(_propose(group, since, night))
    lines = [line_of(pattern) for pattern in sorted(proposed, key=lambda one: (-one.cost, one.fingerprint))]
    about = {"lines": lines, "proposed_count": len(proposed), "exported_at": None, "created_at": Now()}
    made, _ = FailureNight.objects.update_or_create(
        night=night, defaults=about | {"adopted_count": adopted + (done.adopted_count if done else 0)}
    )
    log.info("failures.aggregated", night=str(night), proposed=len(proposed), adopted=adopted)
    return made


def export(found: FailureNight) -> None:
    """Hand a night's lines to the exports; made again, they are the same object."""
    if found.lines:
        exports.export_night(found.night, found.lines)
    FailureNight.objects.filter(pk=found.pk).update(exported_at=Now())
    found.refresh_from_db()


def export_pending() -> int:
    """Export the nights that were cut off before they were, and anew those whose bytes were lost; returns how many."""
    wanted = Q(exported_at__isnull=True) | Q(night__in=exports.lost_nights())
    pending = list(FailureNight.objects.filter(wanted).order_by("night")[:100])
    for found in pending:
        export(found)
    return len(pending)


# Groups


def _groups(since: datetime) -> list[Group]:
    """Return the unmatched failures, grouped, the largest group first."""
    rows = (
        FailureMatch.objects.filter(pattern__isnull=True, created_at__gte=since)
        .values("fingerprint_version", "fingerprint", "is_by_message", "template_id", "error_type")
        .annotate(count=Count("pk"))
        .order_by("fingerprint", "template_id")
    )
    groups: dict[tuple[int, str], Group] = {}
    for row in rows:
        fresh = _group(
            version=row["fingerprint_version"],
            fingerprint=row["fingerprint"],
            is_by_message=row["is_by_message"],
            template_id=row["template_id"],
            error_type=row["error_type"],
        )
        group = groups.setdefault((fresh.version, fresh.fingerprint), fresh)
        group.known.add(row["fingerprint"])
        group.count += row["count"]
    return sorted(groups.values(), key=lambda group: (-group.count, group.fingerprint))


def _group(*, version: int, fingerprint: str, is_by_message: bool, template_id: int | None, error_type: str) -> Group:
    """Return the group of a kind of failures; where their template was merged since, that is the merged one's."""
    template = templates.root_of(template_id)
    if is_by_message and template is not None and version == fingerprints.VERSION:
        fingerprint = fingerprints.of_message(error_type, template.digest)
    return Group(version, fingerprint, is_by_message, error_type, template)


def _pattern_of(group: Group) -> FailurePattern | None:
    """Return the pattern that a group belongs to already, rejected ones too."""
    rows = FailurePattern.objects.filter(
        fingerprint_version=group.version, fingerprint__in={group.fingerprint, *group.known}
    )
    return rows.order_by("-confirmed_count", "id").first()


def _adopt(pattern: FailurePattern, group: Group, since: datetime) -> int:
    """Give a pattern the failures that were taken in while it was being made."""
    return 0 if pattern.state == PatternState.REJECTED else len(_take(pattern, group, since))


def _take(pattern: FailurePattern, group: Group, since: datetime) -> list[uuid.UUID]:
    """Give a group's failures their pattern, where they have none, and count what was given."""
    rows = ledger.ask_in_transaction(
        _TAKE, [pattern.pk, patterns.EXACT, group.version, [group.fingerprint, *group.known], since]
    )
    taken = [
        FailureMatch(pk=row.id, pattern=pattern, version=row.version, cost=row.cost, failed_at=row.failed_at)
        for row in rows
    ]
    patterns.count(taken)
    ids = [one.pk for one in taken]
    RecoveryCandidate.objects.filter(failure__in=ids, pattern__isnull=True).update(pattern=pattern)
    return ids


# Proposals


def _propose(group: Group, since: datetime, night: date) -> FailurePattern:
    newest = FailureMatch.objects.filter(
        pattern__isnull=True, fingerprint_version=group.version, fingerprint__in=group.known, created_at__gte=since
    ).order_by("-failed_at", "id")
    seen = list(newest[:100])
    category = category_of(seen)
    pattern = FailurePattern.objects.create(
        name=_name_of(seen[0], group),
        category=category,
        suggested_mode=Mode.AUTOMATIC if category in (Category.TRANSIENT, Category.INFRASTRUCTURE) else Mode.ASK,
        fingerprint=group.fingerprint,
        fingerprint_version=group.version,
        is_by_message=group.is_by_message,
        template=group.template.text if group.template else "",
        mined_id=group.template.id if group.template else None,
        error_type=group.error_type,
        skill="" if group.is_by_message else seen[0].skill,
        examples=[example_of(one) for one in seen[:EXAMPLES_MOST]],
    )
    _take(pattern, group, since)
    pattern.refresh_from_db()
    patterns.tell("pattern.proposed", pattern, night=str(night), count=pattern.count, cost=str(pattern.cost))
    return pattern


def _name_of(failure: FailureMatch, group: Group) -> str:
    """Return a name that says what it is, and that no other pattern has."""
    what = failure.error_type.rpartition(".")[2] or failure.error_kind
    said = group.template.text if group.template and failure.ending != failures.PARKED else ""
    where = "" if group.is_by_message else f" in {failure.skill}"
    name = f"{what}{where}" + (f": {said}" if said else "")
    short = name if len(name) <= 120 else name[:119] + "…"
    return short if not FailurePattern.objects.filter(name=short).exists() else f"{short} {group.fingerprint[:8]}"


def example_of(failure: FailureMatch) -> dict[str, Any]:
    """Return a failure as an example, without what it says that might be a secret."""
    return {
        "failure": str(failure.id),
        "run": str(failure.run_id),
        "skill": failure.skill,
        "version": failure.version,
        "failed_at": failure.failed_at.isoformat(),
        "message": masks.without_secrets(failure.message)[:500],
    }


def line_of(pattern: FailurePattern) -> dict[str, Any]:
    """Return a proposed pattern as a line of the night's export."""
    return {
        "name": pattern.name,
        "category": str(pattern.category),
        "suggested_mode": str(pattern.suggested_mode),
        "fingerprint": pattern.fingerprint,
        "fingerprint_version": pattern.fingerprint_version,
        "error_type": pattern.error_type,
        "skill": pattern.skill,
        "template": pattern.template,
        "count": pattern.count,
        "cost": str(pattern.cost),
        "versions": list(pattern.versions),
        "first_seen_at": pattern.first_seen_at.isoformat() if pattern.first_seen_at else None,
        "last_seen_at": pattern.last_seen_at.isoformat() if pattern.last_seen_at else None,
        "examples": pattern.examples,
    }


# The first rule that fits says what kind of trouble it is.
_RULES: tuple[tuple[Category, re.Pattern[str]], ...] = (
    (
        Category.RESOURCE,
        re.compile(r"parked:budget|MemoryError|PoisonStep|out of memory|quota|budget|too large|disk full|no space"),
    ),
    (
        Category.PERMISSION,
        re.compile(
            r"Permission|Forbidden|Unauthorized|Authentication|Credential|denied|not allowed|api key|access token",
            re.IGNORECASE,
        ),
    ),
    (
        Category.INFRASTRUCTURE,
        re.compile(
            r"WorkerLost|OperationalError|InterfaceError|LedgerAway|worker (?:died|stopped)|\blease\b|connection (?:"
            r"refused|reset|closed|aborted)|database|broker|redis|name resolution|getaddrinfo|unreachable|"
            r"\bssl\b|certificate",
            re.IGNORECASE,
        ),
    ),
    (
        Category.PLANNER,
        re.compile(
            r"ReplayDiverged|Workflow\w+|ExpressionFailed|Gate\w+|iteration limit|max(?:imum)? iterations|"
            r"unknown tool|\bplan\b"
        ),
    ),
)
_VALIDATION = re.compile(
    r"Validation|InputInvalid|OutputInvalid|NotJson|ValueError|TypeError|KeyError|Decode|invalid|required",
    re.IGNORECASE,
)


def category_of(seen: Sequence[FailureMatch]) -> Category:
    """Return what kind of trouble most of these failures are."""
    return Counter(_category(one) for one in seen).most_common(1)[0][0]


def _category(failure: FailureMatch) -> Category:
    text = f"{failure.error_type} {failure.message[:500]}"
    for category, rule in _RULES:
        if rule.search(text):
            return category
    if failure.error_kind in ("transient", "resource"):
        return Category(failure.error_kind)
    return Category.VALIDATION if _VALIDATION.search(text) else Category.PERMANENT


# The cycles


def _nightly(_: dict[str, Any]) -> int:
    return aggregate().proposed_count


def _tidy(_: dict[str, Any]) -> int:
    return failures.forget() + export_pending()


# The crontab says when; the period only keeps two beats from doing it twice.
NIGHTLY = Cycle(name="recovery.aggregate", period=timedelta(minutes=10), step=_nightly, is_atomic=False)
TIDY = Cycle(name="recovery.tidy_failures", period=timedelta(hours=1), step=_tidy, is_atomic=False)
