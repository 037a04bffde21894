"""The inbox's page: a list that one decides from by key, the evidence that is unfolded, and the form that asks why."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseRedirect, QueryDict
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.dateparse import parse_datetime
from django.views.decorators.http import require_POST

from execution import words
from execution.admin import shown
from execution.admin.lists import as_uuid
from execution.admin.reasons import ReasonForm
from execution.exceptions import OptionInvalid
from execution.room.inbox import deciding, reading
from execution.room.inbox.deciding import Result, Word
from execution.room.inbox.parts import Decision, Matter, Source, source_of, sources
from execution.room.inbox.reading import ORDERS, Group, Wish

RESULTS, REASON = "inbox_results", "inbox_reason"
RESULTS_SHOWN = deciding.AT_ONCE
FILTERS = ("kind", "pattern", "agent", "order")


def badge(request: HttpRequest) -> int:
    """Return how much waits of what the reader may see."""
    return reading.count(sources(request.user))


# The list


def show(request: HttpRequest) -> HttpResponse:
    """Show what waits."""
    seen = sources(request.user)
    wish = _wish(request.GET)
    found = reading.groups(seen, Wish(agent=wish.agent))
    page = reading.listing(seen, wish)
    context = {
        **admin.site.each_context(request),
        "title": "Inbox",
        "wish": wish,
        "matters": [_shown(request, matter, found) for matter in page.matters],
        "kinds": _kinds(seen, found, wish),
        "patterns": _patterns(found, wish),
        "orders": [(order, _with(wish, order=order), order == wish.order) for order in ORDERS],
        "total": sum(group.count for group in found),
        "bulk": _bulk(request, found, wish),
        "next": _with(wish, after=page.after) if page.after else "",
        "first": _with(wish) if wish.after else "",
        "all": reverse("admin:inbox"),
        "here": request.get_full_path(),
        "seen": seen,
        "results": _results(request),
    }
    return TemplateResponse(request, "admin/room/inbox.html", context)


def _wish(given: QueryDict) -> Wish:
    told: dict[str, Any] = {name: given.get(name, "").replace("\0", "") for name in (*FILTERS, "after")}
    if told["order"] not in ORDERS:
        told["order"] = ORDERS[0]
    return Wish(**told)


def _with(wish: Wish, **changes: str) -> str:
    """Return the address of the list with a filter changed; the place in it is left."""
    told = {name: getattr(wish, name) for name in FILTERS} | changes
    if told["order"] == ORDERS[0]:
        told["order"] = ""
    query = urlencode({name: value for name, value in told.items() if value})
    return reverse("admin:inbox") + (f"?{query}" if query else "")


def _shown(request: HttpRequest, matter: Matter, found: list[Group]) -> dict[str, Any]:
    alike = next((one.count for one in found if (one.kind, one.pattern) == (matter.kind, matter.pattern)), 1)
    return {
        "matter": matter,
        "noun": matter.source.noun,
        "age": shown.age(matter.since),
        "cost": words.money(matter.cost) if matter.cost else "",
        "run": shown.short(matter.told.run_id) if matter.told.run_id else "",
        "alike": alike,
        "all_alike": _with(Wish(kind=matter.kind, pattern=matter.pattern)),
        "of_agent": _with(Wish(agent=matter.agent)),
        "decisions": [one for one in matter.decisions() if request.user.has_perm(one.permission)],
    }


def _kinds(seen: list[Source], found: list[Group], wish: Wish) -> list[dict[str, Any]]:
    """Return the kinds of which something waits, and how much."""
    counts = reading.by_kind(found)
    return [
        {
            "title": one.title,
            "count": counts[one.kind],
            "url": _with(wish, kind="" if one.kind == wish.kind else one.kind, pattern=""),
            "is_chosen": one.kind == wish.kind,
        }
        for one in seen
        if counts[one.kind] or one.kind == wish.kind
    ]


def _patterns(found: list[Group], wish: Wish) -> list[dict[str, Any]]:
    """Return the patterns of which several wait: what can be decided at once."""
    fitting = [one for one in found if one.count > 1 and one.pattern and wish.kind in ("", one.kind)]
    return [
        {
            "pattern": one.pattern,
            "kind": one.kind,
            "count": one.count,
            "url": _with(wish, kind=one.kind, pattern=one.pattern),
            "is_chosen": (one.kind, one.pattern) == (wish.kind, wish.pattern),
        }
        for one in fitting[: reading.PATTERNS_MOST]
    ]


def _bulk(request: HttpRequest, found: list[Group], wish: Wish) -> dict[str, Any] | None:
    """Return what may be said to all of one pattern, where one is chosen."""
    source = source_of(wish.kind)
    count = sum(one.count for one in found if (one.kind, one.pattern) == (wish.kind, wish.pattern))
    if source is None or not wish.pattern or not count:
        return None
    allowed = [one for one in source.decisions if request.user.has_perm(one.permission)]
    return {"count": count, "decisions": allowed, "until": timezone.now().isoformat()} if allowed else None


def _results(request: HttpRequest) -> dict[str, Any] | None:
    """Return what became of the reader's last decisions, until the next ones."""
    kept = request.session.get(RESULTS)
    if not kept:
        return None
    rows = [Result(**row) for row in kept["rows"]]
    done = [row for row in rows if row.is_done]
    return {
        "rows": rows,
        "said": kept["said"],
        "refused": len(rows) - len(done),
        "undoable": [row for row in done if row.can_undo],
        "final": next((row.final for row in done if row.final), ""),
    }


# Evidence


def evidence(request: HttpRequest) -> HttpResponse:
    """Show what one reads before one decides."""
    matter = _matter(request, request.GET)
    context = {
        "matter": matter,
        "evidence": matter.source.evidence(matter.row) if matter else None,
        "became": "" if matter else _became(request.GET),
        "decisions": matter.decisions() if matter else [],
    }
    return TemplateResponse(request, "admin/room/inbox_evidence.html", context)


def _matter(request: HttpRequest, given: QueryDict) -> Matter | None:
    source, key = _source(request, given), given.get("key", "")
    return deciding.find(source.kind, key) if as_uuid(key) else None


def _source(request: HttpRequest, given: QueryDict) -> Source:
    source = source_of(given.get("kind", ""))
    if source is None:
        raise Http404("nothing of this kind waits for a person")
    if not request.user.has_perm(source.permission):
        raise PermissionDenied
    return source


def _became(given: QueryDict) -> str:
    source, key = source_of(given.get("kind", "")), given.get("key", "")
    return source.became(key) if source and as_uuid(key) else "there is no such thing"


# Deciding


def ask(request: HttpRequest) -> HttpResponse:
    """Ask why, and what else the decision needs; then decide, and say what became of each."""
    given = request.POST if request.method == "POST" else request.GET
    source, decision = _allowed(request, given)
    form = _form(request, decision)
    if request.method == "POST" and form.is_valid():
        return _decide(request, source, decision, dict(form.cleaned_data))
    matter = None if given.get("pattern") else _matter(request, given)
    if matter is None and not given.get("pattern"):
        _keep(request, [_missing(source, given, decision)], "Nothing was done.")
        return HttpResponseRedirect(_back(given))
    wish = _aimed(given)
    context = {
        **admin.site.each_context(request),
        "title": _heading(decision, matter, wish),
        "source": source,
        "decision": decision,
        "matter": matter,
        "wish": wish,
        "count": 1 if matter else reading.matching(source, wish).count(),
        "at_once": deciding.AT_ONCE,
        "form": form,
        "back": _back(given),
        "given": given,
        "is_part": "HX-Request" in request.headers,
    }
    return TemplateResponse(request, "admin/room/inbox_ask.html", context)


def _allowed(request: HttpRequest, given: QueryDict) -> tuple[Source, Decision]:
    source = _source(request, given)
    try:
        decision = deciding.decision_of(source.kind, given.get("decision", ""))[1]
    except OptionInvalid as error:
        raise Http404(str(error)) from error
    if not request.user.has_perm(decision.permission):
        raise PermissionDenied
    return source, decision


def _form(request: HttpRequest, decision: Decision) -> ReasonForm:
    said = request.session.get(REASON, "")
    return decision.form(request.POST if request.method == "POST" else None, initial={"reason": said})


def _heading(decision: Decision, matter: Matter | None, wish: Wish) -> str:
    return f"{decision.label}: {matter.told.asks}" if matter else f"{decision.label} all of “{wish.pattern}”"


def _aimed(given: QueryDict) -> Wish:
    """Return which matters are meant; nothing that came after the reader had looked."""
    until: datetime | None = None
    try:
        until = parse_datetime(given.get("until", ""))
    except ValueError:
        until = None
    return Wish(pattern=given.get("pattern", ""), agent=given.get("agent", ""), until=until)


def _decide(request: HttpRequest, source: Source, decision: Decision, said: dict[str, Any]) -> HttpResponse:
    reason = said.pop("reason")
    word = Word(decision=decision.name, by=request.user.get_username(), reason=reason, given=said)
    noted = _history(request, reason)
    given, left = request.POST, 0
    if given.get("pattern"):
        results, left = deciding.decide_all(source.kind, _aimed(given), word, noted=noted)
    elif as_uuid(given.get("key", "")):
        results = deciding.decide(source.kind, [given["key"]], word, stamp=given.get("stamp", ""), noted=noted)
    else:
        raise Http404("say what is decided: a key, or a pattern")
    request.session[REASON] = reason
    _keep(request, results, _said(decision, results, left))
    return HttpResponseRedirect(_back(given))


def _said(decision: Decision, results: list[Result], left: int) -> str:
    done = sum(result.is_done for result in results)
    rest = f" {left:,} are left: decide again for the next {deciding.AT_ONCE}." if left else ""
    return f"{decision.label}: {done:,} of {words.counted(len(results), 'matter')} done.{rest}"


def _missing(source: Source, given: QueryDict, decision: Decision) -> Result:
    return Result(
        kind=source.kind, key=given.get("key", ""), decision=decision.name, is_done=False, text=_became(given)
    )


def _keep(request: HttpRequest, results: list[Result], said: str) -> None:
    request.session[RESULTS] = {"said": said, "rows": [asdict(result) for result in results]}


def _history(request: HttpRequest, reason: str) -> deciding.Noted:
    """Return what keeps a decision in the admin's history."""

    def noted(matter: Matter, decision: Decision, done: str) -> None:
        _log(request, matter.source.history(matter.row), f"{decision.label} in the inbox ({done}): {reason}")

    return noted


def _log(request: HttpRequest, row: Any, message: str) -> None:
    admin.site.get_model_admin(type(row)).log_change(request, row, message)


def _back(given: QueryDict) -> str:
    """Return the list as the reader had it; only what leads to the list is followed."""
    inbox, back = reverse("admin:inbox"), given.get("back", "")
    return back if back == inbox or back.startswith(f"{inbox}?") else inbox


# Taking back


@require_POST
def undo(request: HttpRequest) -> HttpResponse:
    """Take the reader's last decisions back, all or one of them."""
    kept = request.session.get(RESULTS) or {"rows": []}
    rows = [Result(**row) for row in kept["rows"] if row["is_done"] and row["can_undo"]]
    wanted = request.POST.get("name", "")
    results = [_undone(request, row) for row in rows if wanted in ("", row.name)]
    done = sum(result.is_done for result in results)
    _keep(request, results, f"Taken back: {done:,} of {len(results):,}.")
    return HttpResponseRedirect(_back(request.POST))


def _undone(request: HttpRequest, row: Result) -> Result:
    source, decision = _allowed(request, QueryDict(urlencode({"kind": row.kind, "decision": row.decision})))
    reason = f"{decision.label} is taken back: {request.session.get(REASON, '')}".rstrip(": ")
    result = deciding.undo(row.kind, row.key, row.decision, by=request.user.get_username(), reason=reason)
    told = source.rows().model._default_manager.filter(pk=row.key).first()  # noqa: SLF001 - Django's documented name
    if result.is_done and told is not None:
        _log(request, source.history(told), reason)
    return result


@require_POST
def put_away(request: HttpRequest) -> HttpResponse:
    """Show the results of the last decisions no more."""
    request.session.pop(RESULTS, None)
    return HttpResponseRedirect(_back(request.POST))
