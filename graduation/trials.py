"""Trials: what speaks for and against each agent at its present level, kept as a row and told outcome by outcome.

Told are the outcomes of decisions that were drawn for an audit, by their id alone (`audits`), in the order of the
decisions: one whose outcome is not known yet holds back the later ones, until it is known or has expired. So neither
silence nor complaints speak, nor an agent's own word (`testimony`), and it does not matter whose news travels faster.
A trial begins anew with another level, and when the model, the prompt or the skill with which an agent decides is
another version of what it was.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from copy import copy
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now
from django.utils import timezone

from execution import ledger
from execution.models import Agent, Step, Verdict
from graduation import audits, conf, testimony
from graduation.evidence import Evidence, Trial
from graduation.models import Evidence as EvidenceRow

_BATCH = 200
_PARTS_MOST = 20
_ABSTENTIONS = ("escalate", "defer")


@transaction.atomic
def hold(agent_id: uuid.UUID) -> EvidenceRow:
    """Hold an agent's trial until the end of the caller's transaction; the first one begins with the agent itself."""
    if not EvidenceRow.objects.filter(pk=agent_id).exists():
        agent = Agent.objects.get(pk=agent_id)
        about = _empty(agent.level) | {"began_at": agent.created_at}
        EvidenceRow.objects.get_or_create(agent_id=agent_id, defaults=about)
    return EvidenceRow.objects.select_for_update(no_key=True, of=("self",)).select_related("agent").get(pk=agent_id)


def read(row: EvidenceRow) -> Trial:
    """Return the trial that a row keeps."""
    return Trial(against=Evidence.from_json(row.falling), in_favour=Evidence.from_json(row.rising))


def must_fall(trial: Trial) -> bool:
    """Whether the rate of errors is shown to be above the target."""
    settings = conf.current()
    return trial.against.refutes(settings.evidence_alpha, least_count=settings.evidence_least)


def may_rise(trial: Trial) -> bool:
    """Whether the rate of errors is shown to be below the target."""
    settings = conf.current()
    return trial.in_favour.refutes(settings.evidence_alpha, least_count=settings.evidence_least)


def begin_anew(row: EvidenceRow, level: int, *, at: datetime | None = None) -> None:
    """Begin with no evidence, from now on or from that moment; what was shown was another's."""
    EvidenceRow.objects.filter(pk=row.pk).update(**_empty(level), began_at=at or _clock(), changed_at=Now())
    row.refresh_from_db()


def begin_rising_anew(row: EvidenceRow) -> None:
    """Begin anew what speaks for a rise; what speaks against the agent stays."""
    rising = Evidence.below(row.target).as_json()
    EvidenceRow.objects.filter(pk=row.pk).update(rising=rising, changed_at=Now())
    row.refresh_from_db()


def tell(row: EvidenceRow) -> Trial:
    """Tell a held trial the outcomes that have come, in order, until one decides; returns the trial as it is then."""
    trial, making, began_at = read(row), dict(row.making), row.began_at
    told_until = row.told_until
    for decision, used, outcome in _told(row):
        if any(name in making and making[name] != version for name, version in used.items()):
            trial, making, began_at = _fresh(row.target), {}, decision.created_at
        making |= used
        told_until = decision.id
        if outcome is not None:
            trial = trial.observe(1 - outcome)
        if must_fall(trial):
            break
    if told_until != row.told_until:
        _store(row, trial, making=making, told_until=told_until, began_at=began_at)
    return trial


def curve(row: EvidenceRow) -> list[tuple[datetime, Trial]]:
    """Return how a trial came to be what it is: after each outcome that was told, when it was decided and the trial."""
    trial, points, last = _fresh(row.target), list[tuple[datetime, Trial]](), row.told_until
    if last is None:
        return points
    again = copy(row)
    again.told_until = None
    for decision, _, outcome in _told(again):
        if outcome is not None:
            trial = trial.observe(1 - outcome)
            points.append((decision.created_at, trial))
        if decision.id >= last:
            break
    return points


def to_audit(row: EvidenceRow, limit: int = 10) -> list[Verdict]:
    """Return the drawn decisions whose outcomes are waited for, the oldest first."""
    waiting: list[Verdict] = []
    after = row.told_until
    for _ in range(_PARTS_MOST):
        part = list(_decisions(row, after)[:_BATCH])
        drawn = [one for one in part if _is_drawn(one) and not _is_over(one)]
        known = testimony.latest(drawn)
        waiting += [one for one in drawn if one.id not in known]
        if len(waiting) >= limit or len(part) < _BATCH:
            break
        after = part[-1].id
    return waiting[:limit]


def snapshot(row: EvidenceRow) -> dict[str, object]:
    """Return what a decision about an agent's level rests on, in figures."""
    trial = read(row)
    return {
        "target": row.target,
        "outcomes": row.outcome_count,
        "errors": row.error_count,
        "against": {"e": round(trial.against.e, 4), "p": round(trial.against.p, 6)},
        "in_favour": {"e": round(trial.in_favour.e, 4), "p": round(trial.in_favour.p, 6)},
        "making": row.making,
        "since": row.began_at.isoformat(),
    }


def _told(row: EvidenceRow) -> Iterator[tuple[Verdict, dict[str, str], float | None]]:
    """Yield the next decisions in order, each with what made it and its outcome: None where none is wanted any more."""
    after = row.told_until
    for _ in range(_PARTS_MOST):
        found = list(_decisions(row, after)[:_BATCH])
        known, skills = testimony.latest(found), _skills(found)
        for decision in found:
            is_wanted = _is_drawn(decision)
            if is_wanted and decision.id not in known and not _is_over(decision):
                return
            used = _models(decision) | skills.get(decision.step_id, {})
            yield decision, used, known[decision.id].outcome if is_wanted and decision.id in known else None
        if len(found) < _BATCH:
            return
        after = found[-1].id


def _decisions(row: EvidenceRow, after: uuid.UUID | None = None) -> QuerySet[Verdict]:
    """Return what the agent itself has decided since its trial began; an escalation is an abstention."""
    after = after or row.told_until
    found = Verdict.objects.filter(agent_id=row.agent_id, outcome_of=None, created_at__gte=row.began_at)
    found = found.exclude(action__in=_ABSTENTIONS).exclude(subject=f"agent:{row.agent.name}")
    return (found.filter(pk__gt=after) if after else found).order_by("id")


def _is_drawn(decision: Verdict) -> bool:
    return audits.is_drawn(decision.id, conf.current().audit_share)


def _is_over(decision: Verdict) -> bool:
    return decision.created_at < timezone.now() - timedelta(days=conf.current().outcome_days)


def _models(decision: Verdict) -> dict[str, str]:
    """Return with which model and prompt decisions of this kind are made."""
    used = " ".join(part for part in (decision.model, decision.prompt_version) if part)
    return {decision.kind: used} if used else {}


def _skills(decisions: list[Verdict]) -> dict[uuid.UUID | None, dict[str, str]]:
    """Return for each step that decided something its skill, and the version of it."""
    rows = Step.objects.filter(pk__in={one.step_id for one in decisions if one.step_id})
    return {step: {f"skill {skill}": version} for step, skill, version in rows.values_list("id", "skill", "version")}


def _store(
    row: EvidenceRow, trial: Trial, *, making: dict[str, str], told_until: uuid.UUID | None, began_at: datetime
) -> None:
    EvidenceRow.objects.filter(pk=row.pk).update(
        falling=trial.against.as_json(),
        rising=trial.in_favour.as_json(),
        outcome_count=trial.against.count,
        error_count=trial.against.bad,
        making=making,
        told_until=told_until,
        began_at=began_at,
        changed_at=Now(),
    )
    row.refresh_from_db()


def _fresh(target: float) -> Trial:
    return Trial.begin(target, {})


def _empty(level: int) -> dict[str, object]:
    target = conf.current().error_target
    trial = _fresh(target)
    return {
        "level": level,
        "target": target,
        "falling": trial.against.as_json(),
        "rising": trial.in_favour.as_json(),
        "making": {},
        "outcome_count": 0,
        "error_count": 0.0,
        "told_until": None,
    }


def _clock() -> datetime:
    """Return the database's time at this moment, which is later than any event of this transaction."""
    now: datetime = ledger.ask_in_transaction("SELECT clock_timestamp() AS now")[0].now
    return now
