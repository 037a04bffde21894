"""The gate: whether a service may be deployed now, by the worst of its objectives.

Of each objective it looks at the share of the budget that is left. Data that is too old, or none, says nothing: that
blocks a critical service and warns of another. A freeze blocks whatever the objectives say; an override lets one
service through for a time, also through a freeze. Each call leaves an assessment with what it saw, and a row.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db import transaction
from django.db.models import Q, QuerySet
from django.utils import timezone

from execution import events, ledger, records
from execution.exceptions import OptionInvalid
from execution.models import Assessment, AssessmentKind, Service, Tier
from execution.workflows.expressions import nearest
from graduation import conf
from graduation.models import Freeze, GateCall, Objective, Origin, Override, Standing
from recovery.exceptions import AlreadyDecided, NotFound

APPROVED, WARNING, BLOCKED, FAILED = "approved", "warning", "blocked", "failed"
EXIT_CODES = {APPROVED: 0, WARNING: 0, FAILED: 1, BLOCKED: 2}
_ORDER = (APPROVED, WARNING, BLOCKED)
PRODUCER = "graduation.gate"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """How much of a budget has to be left: at most so much warns, at most so much blocks, where anything does."""

    warn_at: float
    block_at: float | None
    unknown: str


RULES = {
    Tier.CRITICAL: Rule(warn_at=0.2, block_at=0.1, unknown=BLOCKED),
    Tier.STANDARD: Rule(warn_at=0.2, block_at=0.0, unknown=WARNING),
    Tier.LOW: Rule(warn_at=0.3, block_at=None, unknown=WARNING),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """One objective as the gate sees it: how much of its budget is left, or why nothing is known."""

    objective: str
    standing: str
    left: float | None
    unknown: str
    is_marginal: bool = False

    def answer(self, rule: Rule) -> str:
        """Return what it says alone."""
        if self.left is None:
            return rule.unknown
        left = round(self.left, 9)
        if rule.block_at is not None and left <= rule.block_at and not self.is_marginal:
            return BLOCKED
        return WARNING if left <= rule.warn_at or self.is_marginal else APPROVED


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the gate says, and why."""

    service: str
    tier: str
    commit: str
    answer: str
    reason: str
    worst: str
    looks: tuple[Look, ...]
    freeze: int | None
    override: int | None
    assessment: Any = None

    @property
    def exit_code(self) -> int:
        """0: go on, 1: it could not be evaluated, 2: do not."""
        return EXIT_CODES[self.answer]


@transaction.atomic
def ask(service: str, *, tier: str = "", commit: str = "", by: str = "") -> Answer:
    """Say whether a service may be deployed now, and keep what that rests on."""
    chosen = _tier(service, tier)
    now = timezone.now()
    found = decide(
        service,
        chosen,
        looks(service, now),
        freeze=_freeze(service),
        override=_override(service, commit),
        commit=commit,
    )
    return _kept(found, by)


def decide(
    service: str,
    tier: str,
    seen: Sequence[Look],
    *,
    freeze: Freeze | None = None,
    override: Override | None = None,
    commit: str = "",
) -> Answer:
    """Return the answer: the worst objective's, unless a freeze blocks, unless an override lets through."""
    rule = RULES[Tier(tier)]
    answer, reason, worst = _by_objectives(service, seen, rule)
    if freeze is not None:
        answer, reason = BLOCKED, f"deployments are frozen by {freeze.by}{_until(freeze.until)}: {freeze.reason}"
    if override is not None and answer != APPROVED:
        until = _until(override.until)
        answer, reason = WARNING, f"overridden by {override.by}{until}: {override.reason}; else {answer}: {reason}"
    return Answer(
        service=service,
        tier=tier,
        commit=commit,
        answer=answer,
        reason=reason,
        worst=worst,
        looks=tuple(seen),
        freeze=freeze.pk if freeze else None,
        override=override.pk if override else None,
    )


def _by_objectives(service: str, seen: Sequence[Look], rule: Rule) -> tuple[str, str, str]:
    if not seen:
        return rule.unknown, f"inconclusive: {service} has no objective that is enabled", ""
    worst = max(seen, key=lambda one: (_ORDER.index(one.answer(rule)), -(one.left if one.left is not None else -9)))
    if worst.left is None:
        return worst.answer(rule), f"inconclusive: {worst.objective} {worst.unknown}", worst.objective
    said = f"{worst.objective} has {max(worst.left, 0):.0%} of its budget left"
    near = ", and too few decisions to be sure" if worst.is_marginal else ""
    return worst.answer(rule), said + near, worst.objective


def looks(service: str, now: datetime) -> list[Look]:
    """Return each enabled objective of a service as the gate sees it."""
    rows = Objective.objects.filter(service=service, is_enabled=True).select_related("state").order_by("name")
    return [_look(one, now) for one in rows]


def _look(objective: Objective, now: datetime) -> Look:
    state = getattr(objective, "state", None)
    standing = state.standing if state else Standing.NO_DATA
    unknown = "has never been collected" if state is None or state.collected_at is None else ""
    if state is not None and state.collected_at is not None:
        if standing == Standing.ERROR:
            unknown = f"could not be collected: {state.error or 'see its state'}"
        elif standing == Standing.NO_DATA:
            unknown = "has no data"
        else:
            unknown = _stale(min(state.collected_at, state.data_at or state.collected_at), now)
    left = None if unknown or state is None or state.consumed is None else 1 - state.consumed
    is_marginal = objective.origin == Origin.VERDICTS and standing == Standing.WARNING
    return Look(objective=objective.pk, standing=standing, left=left, unknown=unknown, is_marginal=is_marginal)


def _stale(known: datetime, now: datetime) -> str:
    limit = timedelta(seconds=conf.current().gate_stale_seconds)
    minutes = (now - known) / timedelta(minutes=1)
    return f"has stale data: nothing is known of the last {minutes:.0f} minutes" if now - known > limit else ""


def _kept(found: Answer, by: str) -> Answer:
    """Keep the answer: an assessment with the evidence, and a row."""
    latest = Objective.objects.filter(service=found.service, is_enabled=True).values("state__assessment_id")
    made = records.assess(
        AssessmentKind.DEPLOY_GATE,
        subject=f"service:{found.service}",
        producer=PRODUCER,
        data=as_json(found) | {"by": by},
        parents=Assessment.objects.filter(pk__in=latest).values_list("pk", flat=True),
    )
    GateCall.objects.create(
        service=found.service,
        tier=found.tier,
        commit=found.commit,
        answer=found.answer,
        assessment_id=made.id,
        by=by,
    )
    return Answer(**{name: getattr(found, name) for name in Answer.__slots__} | {"assessment": made.id})


def as_json(found: Answer) -> dict[str, Any]:
    """Return an answer as JSON."""
    return {
        "service": found.service,
        "tier": found.tier,
        "commit": found.commit,
        "answer": found.answer,
        "exit_code": found.exit_code,
        "reason": found.reason,
        "worst": found.worst,
        "objectives": [
            {"objective": one.objective, "standing": one.standing, "budget_left": one.left, "unknown": one.unknown}
            for one in found.looks
        ],
        "freeze": found.freeze,
        "override": found.override,
    }


def _tier(service: str, given: str) -> str:
    """Return the tier that was given, or the one that the service was declared with."""
    if given:
        if given not in Tier.values:
            raise OptionInvalid(f"there is no tier {given!r}; there are {', '.join(Tier.values)}")
        return given
    declared = Service.objects.filter(pk=service).values_list("tier", flat=True).first()
    if declared:
        return str(declared)
    if Objective.objects.filter(service=service).exists():
        return str(Tier.STANDARD)
    known = {*Service.objects.values_list("name", flat=True), *Objective.objects.values_list("service", flat=True)}
    hint = nearest(service, known) or "; declare it, import an objective of it, or name its --tier"
    raise NotFound("service", repr(service), hint.removeprefix("; "))


# Freezes and overrides


@transaction.atomic
def freeze(service: str, *, by: str, reason: str, until: datetime | None = None) -> Freeze:
    """Let nothing be deployed for a while: to one service, or with none named to any."""
    _ask_why(by, reason)
    _check_end(until)
    row = Freeze.objects.create(service=service, by=by, reason=reason, until=until)
    _note("gate.frozen", service, by, reason, freeze=row.pk, until=until)
    return row


@transaction.atomic
def lift(freeze_id: Freeze | int, *, by: str, reason: str = "") -> Freeze:
    """End a freeze."""
    key = freeze_id.pk if isinstance(freeze_id, Freeze) else freeze_id
    row = Freeze.objects.select_for_update().filter(pk=key).first()
    if row is None:
        raise NotFound("freeze", key, "`manage.py freezes list` shows them")
    if row.lifted_at is not None:
        raise AlreadyDecided(f"freeze {key} was lifted by {row.lifted_by} already")
    row.lifted_at, row.lifted_by = timezone.now(), by
    row.save(update_fields=["lifted_at", "lifted_by"])
    _note("gate.lifted", row.service, by, reason, freeze=row.pk)
    return row


@transaction.atomic
def override(service: str, *, by: str, reason: str, until: datetime, commit: str = "") -> Override:
    """Let a service through for a while, or one commit of it, whatever its objectives and freezes say."""
    _ask_why(by, reason)
    _check_end(until)
    row = Override.objects.create(service=service, commit=commit, by=by, reason=reason, until=until)
    _note("gate.overridden", service, by, reason, override=row.pk, until=until, commit=commit)
    return row


def frozen() -> QuerySet[Freeze]:
    """Return the freezes in force, by the database's clock."""
    now = _now()
    return Freeze.objects.filter(Q(until=None) | Q(until__gt=now), lifted_at=None, since__lte=now).order_by("-id")


def overridden() -> QuerySet[Override]:
    """Return the overrides in force."""
    now = _now()
    return Override.objects.filter(until__gt=now, since__lte=now).order_by("-id")


def _freeze(service: str) -> Freeze | None:
    return frozen().filter(service__in=("", service)).first()


def _override(service: str, commit: str) -> Override | None:
    """Return an override of this service; one for a commit fits that, also by its beginning."""
    for row in overridden().filter(service=service):
        is_start = len(row.commit) >= 7 and commit.startswith(row.commit)
        if not row.commit or row.commit == commit or is_start:
            return row
    return None


def _now() -> datetime:
    found: datetime = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    return found


def _ask_why(by: str, reason: str) -> None:
    if not by.strip() or not reason.strip():
        raise OptionInvalid("say who and why: a freeze or an override without a reason is refused")


def _check_end(until: datetime | None) -> None:
    if until is not None and until <= _now():
        raise OptionInvalid(f"it would be over already: until {until:%Y-%m-%d %H:%M:%S}")


def _until(moment: datetime | None) -> str:
    return f" until {moment:%Y-%m-%d %H:%M}" if moment else ""


def _note(kind: str, service: str, by: str, reason: str, **more: Any) -> None:
    told = {name: one.isoformat() if isinstance(one, datetime) else one for name, one in more.items()}
    events.note(kind, {"service": service, "by": by, "reason": reason, **told})
