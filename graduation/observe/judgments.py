"""Judgments: objectives on what an agent decides, measured from its verdicts and what became of them.

A share of only a few decisions is near its target whatever it is: such an objective is marginal, which stands as a
warning, and neither healthy nor breached. How fast it burns is told over the same windows as of other objectives. A
verdict on the agent itself is no decision of the agent's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from itertools import pairwise
from typing import Any

import structlog
from django.utils import timezone

from execution.models import Agent, AssessmentKind, Verdict
from graduation import conf, measures, testimony
from graduation.measures import Decision, Share, State
from graduation.models import Objective, ObjectiveState, Origin, Standing
from graduation.observe import standing
from graduation.observe.burn import Bucket, Counts, Reading
from graduation.observe.indicators import OfVerdicts
from graduation.observe.standing import Found

log = structlog.get_logger(__name__)

MOST = 20_000
"""The newest so many decisions of an agent are looked at."""
CALIBRATION = "calibration"
OVERRULED = "override"
"""How an outcome was found that a person has put in place of the agent's decision."""
_STANDINGS: dict[State, Standing] = {
    "healthy": Standing.HEALTHY,
    "marginal": Standing.WARNING,
    "breach": Standing.EXHAUSTED,
    "no_data": Standing.NO_DATA,
}
_SHARES: dict[str, Callable[[Iterable[Decision]], Share]] = {
    "reversals": measures.reversals,
    "sure_failures": measures.sure_failures,
    "audited_accuracy": measures.audited_accuracy,
    "outcomes": measures.outcomes,
    "stability": lambda decided: measures.stability((one.item, one.action) for one in decided if not one.is_escalated),
    "escalations": measures.escalations,
}
_OF_GOOD = ("audited_accuracy", "outcomes", "stability")


def collect(state: dict[str, Any]) -> int:
    """Measure every objective of judgments; without the extra that says how sure it is, say so once."""
    rows = list(Objective.objects.filter(origin=Origin.VERDICTS, is_enabled=True))
    if rows and not _is_installed(state):
        text = "intervals need the extra 'graduation': pip install 'celeriac[graduation]'"
        ObjectiveState.objects.filter(objective__in=rows).update(standing=Standing.ERROR, error=text)
        return 0
    for objective in rows:
        now = timezone.now()
        standing.record(objective, measured(objective, now))
        ObjectiveState.objects.filter(pk=objective.pk).update(data_at=now, error="")
    return len(rows)


def measured(objective: Objective, now: datetime) -> Found:
    """Return where an objective of judgments stands."""
    indicator = OfVerdicts.model_validate(objective.indicator)
    start = now - timedelta(days=objective.period_days)
    decided = decisions(indicator, start, now)
    at_most = 1 - objective.target
    found = (
        _of_calibration(decided, at_most)
        if indicator.judgments == CALIBRATION
        else _of_share(indicator, bad_share(indicator, decided), at_most)
    )
    status, consumed, bad, total, data = found
    reading = read(objective, now, decided)
    segments = _segments(indicator, decided) if reading else {}
    return Found(
        standing=_STANDINGS[status],
        consumed=consumed,
        good=total - bad,
        total=total,
        is_breach=status == "breach",
        data={
            "measure": indicator.judgments,
            "state": status,
            "at_most": at_most,
            "consumed": consumed,
            **data,
            **segments,
        },
        alarms=standing.alarms(reading) if reading else {},
        window=(start, now),
        kind=AssessmentKind.JUDGMENT_SLO,
    )


def read(objective: Objective, now: datetime, decided: list[Decision] | None = None) -> Reading | None:
    """Return how fast an objective of judgments burns; a calibration error is no share, and burns nothing.

    A decision falls into the windows by when its outcome became known: that is when it can first be told.
    """
    indicator = OfVerdicts.model_validate(objective.indicator)
    if indicator.judgments == CALIBRATION:
        return None
    if decided is None:
        decided = decisions(indicator, now - timedelta(days=objective.period_days), now)

    def spans(_: Objective, starts: Sequence[datetime], until: datetime) -> list[Bucket]:
        return [_bucket(indicator, decided, *span) for span in pairwise([*starts, until])]

    return standing.read(objective, now, spans)


def _bucket(indicator: OfVerdicts, decided: list[Decision], start: datetime, end: datetime) -> Bucket:
    share = bad_share(indicator, [one for one in decided if one.at is not None and start <= one.at < end])
    return Bucket(start_at=start, counts=Counts(good=share.total - share.hits, total=share.total))


def bad_share(indicator: OfVerdicts, decided: list[Decision]) -> Share:
    """Return how much of what an agent decided is bad, by what the objective measures."""
    share = _SHARES[indicator.judgments](decided)
    return Share(hits=share.total - share.hits, total=share.total) if indicator.judgments in _OF_GOOD else share


def _segments(indicator: OfVerdicts, decided: list[Decision]) -> dict[str, Any]:
    """Return the bad share of each kind of decision, so that one that is bad does not hide in a good whole."""
    found = measures.by_segment(decided, lambda some: bad_share(indicator, list(some)))
    return {"segments": {name: {"hits": one.hits, "total": one.total} for name, one in found.items()}}


_Measured = tuple[State, float | None, int, int, dict[str, Any]]


def _of_share(indicator: OfVerdicts, share: Share, at_most: float) -> _Measured:
    is_bounded = indicator.judgments == "escalations" and indicator.at_least
    state = measures.state_between(share, indicator.at_least, at_most) if is_bounded else measures.state(share, at_most)
    consumed = None if share.value is None else share.value / at_most
    within = share.interval
    data = {"share": share.value, "low": within.low, "high": within.high, "hits": share.hits, "total": share.total}
    return state, consumed, share.hits, share.total, data


def _of_calibration(decided: list[Decision], at_most: float) -> _Measured:
    """Return the state of the expected calibration error; of too few decisions nothing is said."""
    error, brier = measures.calibration_error(decided), measures.brier(decided)
    total = sum(not one.is_escalated and None not in (one.confidence, one.outcome) for one in decided)
    data = {"calibration_error": error, "brier": brier, "total": total}
    if error is None:
        return "no_data", None, 0, 0, data
    if total < conf.current().evidence_least:
        return "marginal", error / at_most, 0, total, data
    return ("healthy" if error <= at_most else "breach"), error / at_most, 0, total, data


def decisions(indicator: OfVerdicts, start: datetime, until: datetime) -> list[Decision]:
    """Return what an agent has decided in a time, with what became of it."""
    name = indicator.of.partition(":")[2]
    agent = Agent.objects.filter(name=name).values_list("pk", flat=True).first()
    rows = Verdict.objects.filter(agent_id=agent, outcome_of=None, created_at__gte=start, created_at__lt=until)
    rows = rows.exclude(subject=indicator.of).exclude(agent_id=None).order_by("-id")
    found = list((rows.filter(kind__in=indicator.kinds) if indicator.kinds else rows)[:MOST])
    outcomes = testimony.latest(found)
    return [_decision(one, outcomes.get(one.pk)) for one in reversed(found)]


def _decision(verdict: Verdict, outcome: Verdict | None) -> Decision:
    how = outcome.data.get("how", "") if outcome is not None else ""
    is_reversed = outcome is not None and (how == OVERRULED or bool(outcome.data.get("is_reversed")))
    return Decision(
        action=verdict.action,
        outcome=outcome.outcome if outcome is not None else None,
        confidence=verdict.confidence,
        is_reversed=is_reversed,
        is_audited=outcome is not None and (how == "audit" or bool(outcome.data.get("is_audited"))),
        segment=verdict.kind,
        item=f"{verdict.kind} {verdict.subject}",
        at=outcome.created_at if outcome is not None else verdict.created_at,
    )


def _is_installed(state: dict[str, Any]) -> bool:
    """Whether scipy is there; told once where it is not."""
    is_there = find_spec("scipy") is not None
    if not is_there and not state.get("is_told"):
        log.warning("objectives.extra_missing", extra="graduation", part="measure")
    state["is_told"] = not is_there
    return is_there
