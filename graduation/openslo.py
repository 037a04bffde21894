"""OpenSLO files, version 1: read whole, or refused with every mistake at its file, line and field.

An SLO becomes one objective for each of its targets. Indicators come from the SLO itself or from an SLI that it names,
the way to a metric from its source or from the DataSource that it names. A metric source of type `celeriac` counts in
the ledger or in the verdicts, one of type `prometheus` asks a server; an objective on another is loaded, and disabled.
"""

from __future__ import annotations

import re
import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_args

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, JsonValue, ValidationError
from pydantic.alias_generators import to_camel

from execution.models import Ending
from execution.workflows import reading, sources
from execution.workflows.expressions import nearest
from execution.workflows.fields import Few, refused, shown
from execution.workflows.reading import Finding
from execution.workflows.spec import Part
from graduation.models import Origin
from graduation.observe.indicators import Judgment, OfLedger, OfPrometheus, OfVerdicts, Operator, Threshold

VERSION = "openslo/v1"
LEFT_OUT = ("AlertPolicy", "AlertCondition", "AlertNotificationTarget")
SUBJECT = "celeriac/subject"
"""The annotation that says whose objective it is, where that is not the service itself."""
DAYS = {"m": 1 / 1440, "h": 1 / 24, "d": 1, "w": 7, "M": 31, "Q": 92, "Y": 366}
"""How long a unit lasts, at most."""
_LENGTH = re.compile(r"([1-9][0-9]{0,5})([mhdwMQY])")
_MOMENT = "%Y-%m-%d %H:%M:%S"
_ENDINGS = {"attempts": tuple(Ending.values), "runs": ("completed", "failed", "cancelled")}
_COUNTED = {"attempts": ("completed", "failed", "crashed"), "runs": ("completed", "failed")}
_SUBJECTS = ("agent", "service", "skill", "workflow")
_FAILURES = ("reversals", "sure_failures", "escalations", "calibration")
_Made = TypeVar("_Made", bound=Part)
_Place = tuple[str | int, ...]


def _length(value: Any) -> str:
    text = f"{value}m" if isinstance(value, int) and not isinstance(value, bool) else value
    if not isinstance(text, str) or not _LENGTH.fullmatch(text):
        raise refused(f"is {shown(value)}; write a number and one of m, h, d, w, M, Q, Y, such as '30d' or '1M'")
    return text


def _moment(value: Any) -> str:
    try:
        return datetime.strptime(str(value), _MOMENT).strftime(_MOMENT)  # noqa: DTZ007 - the zone stands beside it
    except ValueError:
        raise refused(f"is {shown(value)}; write a date and a time without zone, as '2026-01-31 12:30:00'") from None


def _zone(value: Any) -> str:
    try:
        return zoneinfo.ZoneInfo(str(value)).key
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        hint = nearest(str(value), zoneinfo.available_timezones())
        raise refused(f"there is no time zone {shown(value)}{hint}") from None


Length = Annotated[str, BeforeValidator(_length)]
Text = Annotated[str, Field(min_length=1, max_length=200)]


class Piece(Part):
    """A piece of a document; its fields are written in camel case."""

    model_config = ConfigDict(alias_generator=to_camel)


class Metadata(Piece):
    """What an object is called."""

    name: Text
    display_name: str = ""
    labels: dict[str, JsonValue] = Field(default_factory=dict)
    annotations: dict[str, str] = Field(default_factory=dict)


class MetricSource(Piece):
    """Where a metric comes from."""

    metric_source_ref: str = ""
    type: str = ""
    spec: dict[str, JsonValue] = Field(default_factory=dict)


class Metric(Piece):
    """One metric."""

    metric_source: MetricSource


class RatioMetric(Piece):
    """Good or bad of total, or a share that is ready-made."""

    counter: bool = False
    good: Metric | None = None
    bad: Metric | None = None
    total: Metric | None = None
    raw_type: Literal["success", "failure"] | None = None
    raw: Metric | None = None


class IndicatorSpec(Piece):
    """What is measured."""

    description: str = ""
    threshold_metric: Metric | None = None
    ratio_metric: RatioMetric | None = None


class Indicator(Piece):
    """An indicator inside an SLO."""

    metadata: Metadata | None = None
    spec: IndicatorSpec


class Calendar(Piece):
    """From when a period is counted."""

    start_time: Annotated[str, BeforeValidator(_moment)]
    time_zone: Annotated[str, BeforeValidator(_zone)]


class TimeWindow(Piece):
    """The period: it rolls, or begins anew by the calendar."""

    duration: Length
    is_rolling: bool | None = None
    calendar: Calendar | None = None


class Target(Piece):
    """One target of an SLO."""

    display_name: str = ""
    op: Operator | None = None
    value: float | None = None
    target: float | None = Field(None, gt=0, lt=1)
    target_percent: float | None = Field(None, gt=0, lt=100)
    time_slice_target: float | None = Field(None, gt=0, le=1)
    time_slice_window: Length | None = None
    indicator: Indicator | None = None
    indicator_ref: str = ""
    composite_weight: float | None = None


class SloSpec(Piece):
    """A service level objective."""

    description: str = ""
    service: Text
    indicator: Indicator | None = None
    indicator_ref: str = ""
    time_window: list[TimeWindow] = Field(default_factory=list)
    budgeting_method: Literal["Occurrences", "Timeslices", "RatioTimeslices"] = "Occurrences"
    objectives: list[Target]
    alert_policies: JsonValue = None


class ServiceSpec(Piece):
    """A service that objectives belong to."""

    description: str = ""


class DataSourceSpec(Piece):
    """Where metrics are asked."""

    description: str = ""
    type: str
    connection_details: dict[str, JsonValue] = Field(default_factory=dict)


class Head(Piece):
    """What every object begins with."""

    api_version: Literal["openslo/v1"]
    kind: Literal[
        "SLO", "SLI", "Service", "DataSource", "AlertPolicy", "AlertCondition", "AlertNotificationTarget"
    ]  # fmt: skip
    metadata: Metadata
    spec: dict[str, JsonValue] = Field(default_factory=dict)


SPECS: dict[str, type[Piece]] = {
    "SLO": SloSpec,
    "SLI": IndicatorSpec,
    "Service": ServiceSpec,
    "DataSource": DataSourceSpec,
}


# What may stand in the spec of a metric source whose type is celeriac


class LedgerSource(Piece):
    """What is counted in the ledger."""

    count: Literal["attempts", "runs"] = "attempts"
    of: str = ""
    endings: Few = ()
    measure: Literal["seconds", "cost", "tokens"] | None = None


class VerdictSource(Piece):
    """What is counted of an agent's decisions."""

    judgments: Judgment
    of: str
    kinds: Few = ()
    at_least: float = Field(0.0, ge=0, lt=1)


class PrometheusSource(Piece):
    """What Prometheus is asked."""

    query: Text
    url: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Declared:
    """One objective as a file declares it."""

    name: str
    subject: str
    service: str
    origin: str
    indicator: dict[str, Any]
    target: float
    period_days: float
    calendar: dict[str, Any]
    slices: dict[str, Any]
    description: str
    document: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Object:
    """One document of a file."""

    file: str
    source: sources.Source
    head: Head
    spec: Piece

    def finding(self, path: _Place, text: str, *, of_key: bool = False, is_error: bool = True) -> Finding:
        """Return what is wrong, or odd, at a place of it."""
        return reading.finding(self.file, self.source.mark(path, of_key=of_key), path, text, is_error=is_error)


@dataclass(slots=True)
class Read:
    """What came of some files."""

    objectives: dict[str, Declared] = field(default_factory=dict)
    services: dict[str, str] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    @property
    def errors(self) -> list[Finding]:
        """What keeps them from being imported."""
        return [one for one in self.findings if one.is_error]

    @property
    def notes(self) -> list[Finding]:
        """What is odd, and refuses nothing."""
        return [one for one in self.findings if not one.is_error]


class Wrong(Exception):
    """Something does not fit, at a place below the object in hand."""

    def __init__(self, path: _Place, text: str) -> None:
        super().__init__(path, text)
        self.path, self.text = path, text


def read(paths: Iterable[str | Path]) -> Read:
    """Read files; nothing is raised."""
    found, objects = Read(), list[Object]()
    for path in paths:
        for source in _sources(path):
            one = _object(str(path), source, found.findings)
            objects += [one] if one else []
    _Files(objects, found).declare()
    found.findings.sort(key=lambda one: (one.file, one.line, one.column))
    return found


def _sources(path: str | Path) -> list[sources.Source]:
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except OSError as error:
        return [sources.Source(flaws=[sources.Flaw(sources.Mark(1, 1), (), f"it cannot be read: {error.strerror}")])]
    except UnicodeDecodeError:
        return [sources.Source(flaws=[sources.Flaw(sources.Mark(1, 1), (), "the file is not UTF-8 text")])]
    found = [one for one in sources.read_all(text) if one.data is not None or one.flaws]
    empty = sources.Flaw(sources.Mark(1, 1), (), "there is no OpenSLO document in this file")
    return found or [sources.Source(flaws=[empty])]


def _object(file: str, source: sources.Source, findings: list[Finding]) -> Object | None:
    """Return a document, checked field by field, or tell what is wrong with it."""
    findings += [reading.finding(file, flaw.mark, flaw.path, flaw.text) for flaw in source.flaws]
    if source.flaws:
        return None
    if not isinstance(source.data, Mapping):
        text = f"an OpenSLO document is a mapping with apiVersion and kind, not {shown(source.data)}"
        findings.append(reading.finding(file, source.mark(()), (), text))
        return None
    try:
        head = Head.model_validate(source.data)
        if head.kind in LEFT_OUT:
            text = f"{head.kind} is left out: when an objective burns is decided by pairs of windows that scale with it"
            findings.append(reading.finding(file, source.mark(("kind",)), ("kind",), text, is_error=False))
            return None
        return Object(file=file, source=source, head=head, spec=_checked(SPECS[head.kind], head.spec, ("spec",)))
    except ValidationError as error:
        known = _known(SPECS.get(str(source.data.get("kind"))))
        findings += [reading.of_field(one, source, file, known) for one in error.errors(include_url=False)]
    return None


def _checked(model: type[_Made], given: Any, path: _Place) -> _Made:
    """Return a part; what is wrong with it is told at its whole path."""
    try:
        return model.model_validate(given)
    except ValidationError as error:
        details: Any = [{**one, "loc": (*path, *one["loc"])} for one in error.errors(include_url=False)]
        for one in details:
            one["type"] = refused(one["msg"]) if one["type"] == "celeriac_field" else one["type"]
        raise ValidationError.from_exception_data(model.__name__, details) from None


def _known(kind: type[Part] | None, source: type[Part] | None = None) -> Any:
    """Return what tells which fields may stand at a path of an object, and in the spec of its metric source."""

    def fields_at(path: _Place) -> list[str]:
        model: Any = Head
        for place, part in enumerate(path):
            if place == 0 and part == "spec":
                model = kind
            elif part == "spec" and path[place - 1] == "metricSource":
                model = source
            elif isinstance(part, str):
                model = _model_of(model, part)
        return [one.alias or name for name, one in model.model_fields.items()] if model else []

    return fields_at


def _model_of(model: Any, alias: str) -> Any:
    """Return the model of a field, whichever way it is wrapped."""
    fields = model.model_fields.values() if model else ()
    annotation = next((one.annotation for one in fields if one.alias == alias), None)
    candidates = [annotation, *get_args(annotation)]
    return next((one for one in candidates if isinstance(one, type) and issubclass(one, BaseModel)), None)


class _Files:
    """Some objects that refer to each other, and what they declare."""

    def __init__(self, objects: list[Object], found: Read) -> None:
        self._objects, self._found = objects, found
        self._homes: dict[tuple[str, str], Object] = {}

    def declare(self) -> None:
        """Declare the services and objectives of all objects."""
        for one in self._objects:
            self._keep(one)
        for one in self._objects:
            if isinstance(one.spec, ServiceSpec):
                self._found.services[one.head.metadata.name] = one.spec.description
            elif isinstance(one.spec, SloSpec):
                self._declare(one, one.spec)

    def _keep(self, one: Object) -> None:
        key = (one.head.kind, one.head.metadata.name)
        if key in self._homes:
            first = self._homes[key]
            place = f"{first.file}:{first.source.mark(('metadata', 'name')).line}"
            text = f"there is another {key[0]} {key[1]!r} at {place}"
            self._found.findings.append(one.finding(("metadata", "name"), text))
        self._homes.setdefault(key, one)

    def _declare(self, one: Object, spec: SloSpec) -> None:
        """Declare an objective for each target of an SLO."""
        if not spec.objectives:
            self._found.findings.append(one.finding(("spec", "objectives"), "is empty; an SLO has a target"))
        for index, target in enumerate(spec.objectives):
            try:
                made = self._objective(one, spec, target, index)
            except Wrong as wrong:
                self._found.findings.append(one.finding(wrong.path, wrong.text))
            except ValidationError as error:
                known = _known(type(one.spec), _source_model(error))
                for each in error.errors(include_url=False):
                    self._found.findings.append(reading.of_field(each, one.source, one.file, known))
            else:
                self._found.objectives[made.name] = made

    def _objective(self, one: Object, spec: SloSpec, target: Target, index: int) -> Declared:
        place: _Place = ("spec", "objectives", index)
        origin, indicator = self._indicator(one, spec, target, place)
        period, calendar = _period(spec)
        name = one.head.metadata.name
        return Declared(
            name=name if len(spec.objectives) == 1 else f"{name}-{index + 1}",
            subject=_whose(one) or indicator.get("of") or f"service:{spec.service}",
            service=spec.service,
            origin=origin,
            indicator=indicator,
            target=_target(target, place),
            period_days=period,
            calendar=calendar,
            slices=_slices(spec, target, place),
            description=spec.description or target.display_name or one.head.metadata.display_name,
            document=yaml.safe_dump(one.source.data, sort_keys=False, allow_unicode=True),
        )

    def _indicator(self, one: Object, spec: SloSpec, target: Target, place: _Place) -> tuple[str, dict[str, Any]]:
        """Return the origin of an objective and its indicator, from wherever that stands."""
        inner, ref, at = target.indicator, target.indicator_ref, place
        if inner is None and not ref:
            inner, ref, at = spec.indicator, spec.indicator_ref, ("spec",)
        if inner is not None:
            return self._measured(inner.spec, target, spec, (*at, "indicator", "spec"), place)
        if not ref:
            raise Wrong(at, "has no indicator: write one as 'indicator', or name an SLI by 'indicatorRef'")
        home = self._named("SLI", ref, (*at, "indicatorRef"))
        assert isinstance(home.spec, IndicatorSpec)  # noqa: S101 - for mypy
        try:
            return self._measured(home.spec, target, spec, ("spec",), place)
        except Wrong as wrong:
            if home is one or wrong.path[:2] == place[:2]:
                raise
            self._found.findings.append(home.finding(wrong.path, wrong.text))
            raise Wrong((*at, "indicatorRef"), f"the SLI {ref!r} is not right") from None

    def _measured(
        self, spec: IndicatorSpec, target: Target, slo: SloSpec, at: _Place, place: _Place
    ) -> tuple[str, dict[str, Any]]:
        if (spec.ratio_metric is None) == (spec.threshold_metric is None):
            raise Wrong(at, "has to have one of 'ratioMetric' and 'thresholdMetric'")
        if spec.threshold_metric is not None:
            if target.op is None or target.value is None:
                raise Wrong(place, "a thresholdMetric needs 'op' and 'value': what it is compared with")
            threshold = Threshold(op=target.op, value=target.value)
            return self._of_threshold(spec.threshold_metric, threshold, slo, (*at, "thresholdMetric"))
        assert spec.ratio_metric is not None  # noqa: S101 - for mypy
        return self._of_ratio(spec.ratio_metric, slo, (*at, "ratioMetric"))

    def _of_threshold(
        self, metric: Metric, threshold: Threshold, slo: SloSpec, at: _Place
    ) -> tuple[str, dict[str, Any]]:
        kind, url = self._kind(metric.metric_source, at)
        inner = (*at, "metricSource", "spec")
        if kind == "prometheus":
            asked = _checked(PrometheusSource, metric.metric_source.spec, inner)
            made = OfPrometheus(url=asked.url or url, value=asked.query, threshold=threshold)
            return Origin.PROMETHEUS, made.as_data()
        if kind != "celeriac":
            return Origin.OTHER, {"type": kind}
        counted = _checked(LedgerSource, metric.metric_source.spec, inner)
        if counted.measure is None:
            raise Wrong(inner, "needs 'measure': seconds, cost or tokens")
        endings = counted.endings or ("completed",)
        return Origin.LEDGER, OfLedger(
            count=counted.count,
            of=_subject(counted, slo, inner),
            counted=_endings(counted, endings, inner),
            measure=counted.measure,
            threshold=threshold,
        ).model_dump(mode="json")

    def _of_ratio(self, metric: RatioMetric, slo: SloSpec, at: _Place) -> tuple[str, dict[str, Any]]:
        if metric.raw is not None:
            return self._of_raw(metric, metric.raw, at)
        part, name = (metric.bad, "bad") if metric.good is None else (metric.good, "good")
        if part is None or metric.total is None or (metric.good and metric.bad):
            raise Wrong(at, "has to have 'total' with one of 'good' and 'bad', or 'raw' with 'rawType'")
        kinds = [self._kind(one.metric_source, (*at, key)) for key, one in ((name, part), ("total", metric.total))]
        if kinds[0][0] != kinds[1][0]:
            raise Wrong((*at, name), f"comes from {kinds[0][0]!r}, and the total from {kinds[1][0]!r}")
        places = [(*at, key, "metricSource", "spec") for key in (name, "total")]
        if kinds[0][0] == "prometheus":
            asked = [
                _checked(PrometheusSource, one.metric_source.spec, where)
                for one, where in zip((part, metric.total), places, strict=True)
            ]
            queries = {name: asked[0].query, "total": asked[1].query, "is_counter": metric.counter}
            url = asked[1].url or kinds[1][1]
            return Origin.PROMETHEUS, OfPrometheus.model_validate({"url": url, **queries}).as_data()
        if kinds[0][0] != "celeriac":
            return Origin.OTHER, {"type": kinds[0][0]}
        return Origin.LEDGER, _of_endings(part, metric.total, name, slo, places)

    def _of_raw(self, metric: RatioMetric, raw: Metric, at: _Place) -> tuple[str, dict[str, Any]]:
        if metric.raw_type is None:
            raise Wrong(at, "'raw' needs 'rawType': success or failure")
        kind, url = self._kind(raw.metric_source, (*at, "raw"))
        inner = (*at, "raw", "metricSource", "spec")
        if kind == "prometheus":
            asked = _checked(PrometheusSource, raw.metric_source.spec, inner)
            query = {"url": asked.url or url, metric.raw_type: asked.query}
            return Origin.PROMETHEUS, OfPrometheus.model_validate(query).as_data()
        if kind != "celeriac":
            return Origin.OTHER, {"type": kind}
        judged = _checked(VerdictSource, raw.metric_source.spec, inner)
        wanted = "failure" if judged.judgments in _FAILURES else "success"
        if metric.raw_type != wanted:
            raise Wrong((*at, "rawType"), f"is {metric.raw_type!r}; {judged.judgments} are a share of {wanted}")
        if not judged.of.startswith("agent:") or len(judged.of) < len("agent:x"):
            raise Wrong((*inner, "of"), f"is {shown(judged.of)}; who decides is an agent, as in agent:scout")
        made = OfVerdicts(judgments=judged.judgments, of=judged.of, kinds=judged.kinds, at_least=judged.at_least)
        return Origin.VERDICTS, made.model_dump(mode="json")

    def _kind(self, source: MetricSource, at: _Place) -> tuple[str, str]:
        """Return the type of a metric source, in lower case, and the address that its DataSource names."""
        ref, place = source.metric_source_ref, (*at, "metricSource", "metricSourceRef")
        home = self._homes.get(("DataSource", ref)) if ref else None
        if ref and home is None and not source.type:
            home = self._named("DataSource", ref, place)
        spec = home.spec if home is not None and isinstance(home.spec, DataSourceSpec) else None
        kind = source.type or (spec.type if spec else "")
        if not kind:
            raise Wrong((*at, "metricSource"), "needs 'type', or 'metricSourceRef' with the name of a DataSource")
        return kind.lower(), str(spec.connection_details.get("url", "")) if spec else ""

    def _named(self, kind: str, name: str, place: _Place) -> Object:
        found = self._homes.get((kind, name))
        if found is None:
            hint = nearest(name, [one for each, one in self._homes if each == kind])
            raise Wrong(place, f"there is no {kind} {name!r} in these files{hint}")
        return found


def _source_model(error: ValidationError) -> type[Part] | None:
    """Return the model of a metric source's spec that an error is about."""
    return next((one for one in (LedgerSource, VerdictSource, PrometheusSource) if one.__name__ == error.title), None)


def _of_endings(part: Metric, total: Metric, name: str, slo: SloSpec, places: list[_Place]) -> dict[str, Any]:
    """Return what counts by how attempts or runs ended."""
    some = _checked(LedgerSource, part.metric_source.spec, places[0])
    all_ = _checked(LedgerSource, total.metric_source.spec, places[1])
    counted = all_.endings or _COUNTED[all_.count]
    chosen = some.endings or (("completed",) if name == "good" else tuple(set(counted) - {"completed"}))
    for key in ("count", "of"):
        if key in some.model_fields_set and getattr(some, key) != getattr(all_, key):
            raise Wrong((*places[0], key), f"is {getattr(some, key)!r}, and of the total {getattr(all_, key)!r}")
    _endings(all_, chosen, places[0])
    strays = [one for one in chosen if one not in counted]
    if strays:
        raise Wrong((*places[0], "endings"), f"names {strays[0]!r}, which the total does not count")
    good = chosen if name == "good" else tuple(one for one in counted if one not in chosen)
    made = OfLedger(
        count=all_.count, of=_subject(all_, slo, places[1]), counted=_endings(all_, counted, places[1]), good=good
    )
    return made.model_dump(mode="json")


def _endings(source: LedgerSource, endings: Iterable[str], at: _Place) -> tuple[str, ...]:
    known = _ENDINGS[source.count]
    for one in endings:
        if one not in known:
            hint = nearest(one, known) or f"; there are {', '.join(known)}"
            raise Wrong((*at, "endings"), f"{source.count} do not end {one!r}{hint}")
    return tuple(endings)


def _subject(source: LedgerSource, slo: SloSpec, at: _Place) -> str:
    found = source.of or f"service:{slo.service}"
    kind, _, name = found.partition(":")
    if kind not in _SUBJECTS or not name:
        hint = nearest(kind, _SUBJECTS)
        raise Wrong(
            (*at, "of"), f"is {shown(found)}; write it with one of {', '.join(_SUBJECTS)}, as skill:pay.charge{hint}"
        )
    return found


def _whose(one: Object) -> str:
    found = one.head.metadata.annotations.get(SUBJECT, "")
    if found and not re.fullmatch(r"[a-z][a-z_]*:\S.*", found):
        raise Wrong(("metadata", "annotations", SUBJECT), f"is {shown(found)}; write it as service:payments")
    return found


def _target(target: Target, place: _Place) -> float:
    if (target.target is None) == (target.target_percent is None):
        raise Wrong(place, "has to have one of 'target' and 'targetPercent'")
    return target.target if target.target is not None else round((target.target_percent or 0) / 100, 9)


def _period(spec: SloSpec) -> tuple[float, dict[str, Any]]:
    """Return how many days a period has at most, and by which calendar it begins anew."""
    if not spec.time_window:
        return 30.0, {}
    if len(spec.time_window) > 1:
        raise Wrong(("spec", "timeWindow", 1), "is a second window; an SLO has one")
    window = spec.time_window[0]
    count, unit = _parted(window.duration)
    is_rolling = window.calendar is None if window.is_rolling is None else window.is_rolling
    if is_rolling == (window.calendar is not None):
        text = "rolls, and has no calendar" if is_rolling else "does not roll, and needs a calendar"
        raise Wrong(("spec", "timeWindow", 0), f"a window that {text}")
    if window.calendar is None:
        return count * (30 if unit == "M" else DAYS[unit]), {}
    start = {"start": window.calendar.start_time, "zone": window.calendar.time_zone}
    return count * DAYS[unit], {**start, "count": count, "unit": unit}


def _slices(spec: SloSpec, target: Target, place: _Place) -> dict[str, Any]:
    """Return how long a slice is and what makes it good; nothing where each event counts."""
    if spec.budgeting_method == "Occurrences":
        return {}
    if target.time_slice_window is None:
        raise Wrong(place, f"{spec.budgeting_method} needs 'timeSliceWindow': how long a slice is")
    count, unit = _parted(target.time_slice_window)
    if unit in "MQY":
        raise Wrong((*place, "timeSliceWindow"), f"is {target.time_slice_window!r}; a slice has minutes, hours or days")
    minutes = round(count * DAYS[unit] * 1440)
    if spec.budgeting_method == "RatioTimeslices":
        return {"minutes": minutes}
    if target.time_slice_target is None:
        raise Wrong(place, "Timeslices needs 'timeSliceTarget': which share makes a slice good")
    return {"minutes": minutes, "target": target.time_slice_target}


def _parted(length: str) -> tuple[int, str]:
    return int(length[:-1]), length[-1]
