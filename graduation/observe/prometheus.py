"""Prometheus: its counts by the minute, asked over HTTP by range queries.

A counter is asked at the end of each minute; what it has grown by is what was counted, series by series, so that a
series that began anew takes nothing away. A minute in which Prometheus has no sample is not known, and stays so; one in
which a counter stood still is known, with nothing in it. The newest minutes are asked again, for scrapes that come
late; a minute is written whole, so that writing it twice changes nothing.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import structlog
from django.db import transaction
from django.utils import timezone

from graduation import conf
from graduation.exceptions import OriginFailed
from graduation.models import Objective, ObjectiveState, Origin
from graduation.observe import buckets
from graduation.observe.buckets import MINUTE, Minute
from graduation.observe.indicators import PARTS, OfPrometheus

log = structlog.get_logger(__name__)

FIRST = timedelta(hours=6)
"""How far back an objective is asked for the first time."""
MOST = timedelta(hours=24)
"""How much is asked at once; what is missing before is asked by the next passes."""
AGAIN = timedelta(minutes=3)

Series = dict[str, dict[datetime, float]]


def collect() -> int:
    """Ask for what happened since the last time; an answer that fails is an objective's error. Returns minutes."""
    away: dict[str, str] = {}
    return sum(_collect(objective, away) for objective in _objectives())


def _objectives() -> Iterable[Objective]:
    rows = Objective.objects.filter(origin=Origin.PROMETHEUS, is_enabled=True)
    return rows.select_related("state").order_by("state__collected_at", "name")


def _collect(objective: Objective, away: dict[str, str]) -> int:
    """Collect one objective; a server that does not answer is asked once in a pass."""
    indicator = OfPrometheus.model_validate(objective.indicator)
    url = (indicator.url or conf.current().prometheus_url).rstrip("/")
    if url in away:
        _note_error(objective, away[url])
        return 0
    try:
        minutes, known = _minutes(objective, indicator, url)
    except OriginFailed as error:
        _note_error(objective, str(error))
        return 0
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        # The address may hold a password, which is nobody's who reads the state.
        away[url] = f"Prometheus at {_place(url)} does not answer: {type(error).__name__} {error}".strip()
        _note_error(objective, away[url])
        return 0
    with transaction.atomic():
        buckets.put(minutes)
        ObjectiveState.objects.filter(pk=objective.pk).update(data_at=known or objective.state.data_at, error="")
    return len(minutes)


def _place(url: str) -> str:
    """Return where an address leads, without what stands in it besides."""
    return url.partition("://")[2].rpartition("@")[2].partition("/")[0] or url


def _note_error(objective: Objective, text: str) -> None:
    log.warning("objective.not_collected", objective=objective.pk, error=text)
    ObjectiveState.objects.filter(pk=objective.pk).update(error=text[:2000])


def _minutes(objective: Objective, indicator: OfPrometheus, url: str) -> tuple[list[Minute], datetime | None]:
    """Return the minutes that are known now, and up to when that is."""
    if not url:
        raise OriginFailed("no Prometheus is named: set prometheus_url, or a DataSource with connectionDetails.url")
    until = buckets.minute_of(timezone.now())
    start = max(objective.state.data_at - AGAIN, until - _period(objective)) if objective.state.data_at else None
    start = buckets.minute_of(start or until - FIRST)
    until = min(until, start + MOST)
    with httpx.Client(base_url=url, timeout=conf.current().prometheus_timeout_seconds) as client:
        found = [one for one in _counted(client, objective.pk, indicator, start, until) if one.at < until]
    is_behind = until < buckets.minute_of(timezone.now()) - MINUTE
    return found, until if is_behind else max((one.at + MINUTE for one in found), default=None)


def _period(objective: Objective) -> timedelta:
    return timedelta(days=objective.period_days)


def _counted(
    client: httpx.Client, name: str, indicator: OfPrometheus, start: datetime, until: datetime
) -> Iterator[Minute]:
    """Yield the minutes from a start on that an indicator knows of."""
    if indicator.total:
        yield from _of_ratio(client, name, indicator, start, until)
        return
    query = indicator.value or indicator.success or indicator.failure
    for at, values in _by_minute(_asked(client, query, start, until)).items():
        mean = sum(values) / len(values)
        if indicator.threshold is not None:
            good = sum(indicator.threshold.holds(value) for value in values)
            yield Minute(objective=name, at=at, good=good, total=len(values), sum_=mean * len(values))
        else:
            share = min(1.0, max(0.0, mean if indicator.success else 1 - mean))
            yield Minute(objective=name, at=at, good=round(PARTS * share), total=PARTS)


def _of_ratio(
    client: httpx.Client, name: str, indicator: OfPrometheus, start: datetime, until: datetime
) -> Iterator[Minute]:
    parts, totals = (_asked(client, one, start, until) for one in (indicator.good or indicator.bad, indicator.total))
    total = _grown(totals, is_counter=indicator.is_counter)
    part = _grown(parts, is_counter=indicator.is_counter, unborn=_times(totals) - _times(parts))
    for at, count in sorted(total.items()):
        some = min(max(0, round(part.get(at, 0.0))), max(0, round(count)))
        good = some if indicator.good else max(0, round(count)) - some
        yield Minute(objective=name, at=at, good=good, total=max(0, round(count)))


def _asked(client: httpx.Client, query: str, start: datetime, until: datetime) -> Series:
    """Return the samples at the end of each minute, by series."""
    wanted = {"query": query, "start": start.timestamp(), "end": until.timestamp(), "step": 60}
    answer = client.post("/api/v1/query_range", data=wanted)
    body = _body(answer)
    if answer.status_code != 200 or body.get("status") != "success":
        said = body.get("error") or f"HTTP {answer.status_code}"
        raise OriginFailed(f"Prometheus refuses {query!r}: {said}")
    try:
        series = body["data"]["result"]
        return {str(sorted(one["metric"].items())): dict(_samples(one["values"])) for one in series}
    except (AttributeError, KeyError, TypeError, ValueError):
        raise OriginFailed(f"the answer to {query!r} holds no series of numbers") from None


def _body(answer: httpx.Response) -> dict[str, Any]:
    try:
        found = answer.json()
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise OriginFailed(f"{answer.url.host} is no Prometheus: HTTP {answer.status_code} without a JSON object")
    return found


def _samples(values: Iterable[tuple[float, str]]) -> Iterator[tuple[datetime, float]]:
    for at, text in values:
        if math.isfinite(value := float(text)):
            yield datetime.fromtimestamp(at, tz=UTC), value


def _by_minute(series: Series) -> dict[datetime, list[float]]:
    """Return the values of all series by the minute that they end."""
    found: dict[datetime, list[float]] = {}
    for samples in series.values():
        for at, value in samples.items():
            found.setdefault(at - MINUTE, []).append(value)
    return dict(sorted(found.items()))


def _times(series: Series) -> set[datetime]:
    """Return when there was any sample."""
    return {at for samples in series.values() for at in samples}


def _grown(series: Series, *, is_counter: bool, unborn: Collection[datetime] = ()) -> dict[datetime, float]:
    """Return what was counted in each minute: what counters have grown by, or the value itself.

    Where nothing was counted yet while the other query was answered (errors before the first error) it was none.
    """
    found: dict[datetime, float] = {}
    for samples in series.values():
        for at, value in samples.items():
            before = samples.get(at - MINUTE, 0.0 if at - MINUTE in unborn else None)
            if is_counter and before is None:
                continue
            grown = value if before is None or not is_counter or value < before else value - before
            found[at - MINUTE] = found.get(at - MINUTE, 0.0) + grown
    return found
