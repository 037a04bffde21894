"""What a run waits for, in words: the reason, since when, and what would move it.

Every value of `Waiting` has a sentence here. Ages and due times are measured by the database's clock.
"""

from __future__ import annotations

import math
import re
import uuid
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection
from django.db.models import Case, Q, QuerySet, When

from execution import breakers, sessions, skills, words
from execution.models import (
    ENDED,
    UNFINISHED,
    Attempt,
    Breaker,
    BreakerState,
    CapabilityLockout,
    ConcurrencyKey,
    CycleState,
    Effect,
    EffectState,
    Event,
    Level,
    Need,
    Run,
    RunState,
    Session,
    Step,
    StepState,
    Waiting,
    Worker,
)
from execution.retries import Policy

LANE = "execution.job_lane"
"""The skill of a lane, which performs the items of a job."""
APPROVAL = "execution.approval"
"""The skill of a gate at which a person decides."""
SILENT_AFTER = timedelta(seconds=10)
ORDER = (StepState.PARKED, StepState.WAITING, StepState.READY, StepState.RUNNING, StepState.BLOCKED)
_WANTED = re.compile(r"^(\d+(?:\.\d+)?)(?: and (\d+) tokens)? more would pass")


@dataclass(frozen=True, slots=True, kw_only=True)
class Reason:
    """Why one step is where it is; `moves` says what would move it, commands included."""

    step_id: uuid.UUID | None
    step: str
    state: str
    waiting: str
    since: datetime
    text: str
    moves: list[str] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """What a run waits for: one sentence for the run, one reason for each step that has not ended."""

    run_id: uuid.UUID
    skill: str
    state: str
    text: str
    at: datetime
    reasons: list[Reason]
    left_out_count: int = 0


Said = tuple[str, list[str], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class _Case:
    """One step of one run, at one moment of the database's clock."""

    run: Run
    step: Step
    now: datetime

    def when(self, moment: datetime | None) -> str:
        return words.when(moment, self.now) if moment else "at an unknown time"

    def command(self, verb: str, *more: str) -> str:
        return " ".join(["manage.py", verb, str(self.run.id), *more])


def clock() -> datetime:
    """Return the database's time."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        found: datetime = cursor.fetchone()[0]
    return found


def explain(run: Run, *, most: int = 20) -> Explanation:
    """Say what a run waits for, for at most so many of its steps: the parked ones first, then those that wait."""
    now = clock()
    unfinished = Step.objects.none() if run.is_ended else Step.objects.filter(run_id=run.id, state__in=UNFINISHED)
    steps = list(telling(unfinished).prefetch_related("agent")[:most])
    reasons = [_reason(_Case(run, step, now)) for step in steps]
    return Explanation(
        run_id=run.id,
        skill=run.workflow,
        state=run.state,
        text=_of_run(run, now),
        at=now,
        reasons=reasons,
        left_out_count=unfinished.count() - len(steps) if len(steps) == most else 0,
    )


def telling(steps: QuerySet[Step]) -> QuerySet[Step]:
    """Order steps by how much they say of what a run waits for, and leave out what may be large."""
    place = Case(*(When(state=state, then=number) for number, state in enumerate(ORDER)), default=len(ORDER))
    return steps.defer("input", "output", "canvas").order_by(place, "position")


def _of_run(run: Run, now: datetime) -> str:
    if run.is_ended:
        return _of_ended(run, now)
    parts = [f"run {run.id} of {run.workflow} is {run.state}"]
    if run.state == RunState.PAUSED:
        parts.append(paused_by(run, now))
    if run.state == RunState.PARKED:
        parts.append(f"it waits for a person ({run.waiting})")
    if run.cancel_requested_at:
        reason = f" ({run.cancel_reason})" if run.cancel_reason else ""
        parts.append(f"its cancellation was asked for at {words.when(run.cancel_requested_at, now)}{reason}")
    if run.deadline_at:
        parts.append(f"its deadline is {words.when(run.deadline_at, now)}")
    return "; ".join(parts)


def _of_ended(run: Run, now: datetime) -> str:
    ended = f" at {words.when(run.ended_at, now)}" if run.ended_at else ""
    text = f"run {run.id} of {run.workflow} waits for nothing: it {_ENDED_WORDS[run.state]}{ended}"
    if run.state == RunState.FAILED:
        return f"{text}: {said_error(run.error)}; `manage.py retry {run.id}` goes on from the failed step"
    if run.state == RunState.CANCELLED and run.cancel_reason:
        return f"{text}: {run.cancel_reason}"
    return text


_ENDED_WORDS: dict[str, str] = {"completed": "completed", "failed": "failed", "cancelled": "was cancelled"}


def shown_token(token: str) -> str:
    """Return a token as its author wrote it: without the verb that the ledger puts before it."""
    prefix, _, last = token.rpartition("/")
    verb, _, name = last.partition(":")
    bare = name if verb in ("effect", "spend", "sleep", "wait", "call", "each") and name else last
    return f"{prefix}/{bare}" if prefix else bare


def said_error(error: dict[str, Any] | None) -> str:
    """Say an error as its type and message, on one line."""
    if not error:
        return "no error was kept"
    kind = error.get("type")
    return words.one_line(f"{kind}: {error.get('message', '')}" if kind else error.get("message", ""))


def paused_by(run: Run, now: datetime) -> str:
    """Say who paused a run, when and why, as the log has it; or which session it was paused with."""
    if run.waiting == sessions.WITH_SESSION and run.session is not None:
        return _expired(run.session, now)
    event = Event.objects.filter(run_id=run.id, kind="run.paused").order_by("-id").first()
    if event is None:
        return "it was paused by an operator"
    who, why = event.data.get("by") or "an operator", event.data.get("reason")
    return f"it was paused by {who} at {words.when(event.at, now)}" + (f": {why}" if why else "")


def _expired(session: Session, now: datetime) -> str:
    name = f" ({session.name})" if session.name else ""
    ended = f" at {words.when(session.ended_at, now)}" if session.ended_at else ""
    return f"its session {session.id}{name} expired{ended}, unused for {words.length(session.ttl)}"


def _reason(case: _Case) -> Reason:
    step = case.step
    say = _SAYINGS[Waiting(step.waiting)] if step.state != StepState.RUNNING else _running
    text, moves, facts = say(case)
    return Reason(
        step_id=step.id,
        step=step.name,
        state=step.state,
        waiting=step.waiting,
        since=step.changed_at,
        text=text,
        moves=moves,
        facts=facts,
    )


# What performs


def _running(case: _Case) -> Said:
    step = case.step
    worker = Worker.objects.filter(pk=step.worker_id).first() if step.worker_id else None
    name = worker.hostname if worker else f"worker {step.worker_id}"
    number = Attempt.objects.filter(step_id=step.id, epoch__lte=step.epoch).count()
    text = f"it is performed by {name}, attempt {number}"
    facts = {"worker": name, "epoch": step.epoch, "lease_until": step.lease_until}
    if step.lease_until and step.lease_until < case.now:
        text += f"; its lease ran out {case.when(step.lease_until)}"
        return text, ["the sweep of any live worker gives it back and another worker takes it over"], facts
    if step.control:
        text += f"; it was asked to {step.control} and stops at its next context call"
    return text, ["the skill's own work"], facts


# What waits for time, for others, for the outside


def _needs(case: _Case) -> Said:
    needed = Need.objects.filter(step_id=case.step.id).exclude(needed__state__in=["completed", "skipped"])
    found = [
        (need.needed.name, need.needed.state) for need in needed.select_related("needed").order_by("needed__position")
    ]
    if not found:
        told = (
            "it is an entry of a list of which only so many go at the same time (max_parallel), and waits for its turn"
        )
        return told, ["the ending of another entry"], {"needs": []}
    names = [f"{name} ({state})" for name, state in found]
    text = f"it needs {words.counted(len(found), 'step')} that {'has' if len(found) == 1 else 'have'} not ended: "
    return text + words.listed(names), ["the ending of those steps"], {"needs": [name for name, _ in found]}


def _timer(case: _Case) -> Said:
    step = case.step
    if step.epoch == 0 and case.run.start_at:
        return (
            f"it starts at {case.when(case.run.start_at)}",
            ["its start time", case.command("cancel")],
            {"wake_at": step.wake_at},
        )
    return f"it sleeps until {case.when(step.wake_at)}", ["its timer"], {"wake_at": step.wake_at}


def _gate(case: _Case) -> Said:
    from execution.workflows import gates

    step = case.step
    who = gates.asked(step)["who"]
    deadline = f", until {case.when(step.wake_at)}" if step.wake_at else ""
    moves = [case.command("approve", _quoted(step.name)), case.command("refuse", _quoted(step.name))]
    if step.wake_at:
        moves.append("at its time-out the gate fails")
    text = f"it waits at gate {step.name!r} for an approval by {words.listed(who) if who else 'anybody'}{deadline}"
    return text, moves, {"gate": step.name, "who": who, "deadline": step.wake_at}


def _signal(case: _Case) -> Said:
    if case.step.skill == APPROVAL:
        return _gate(case)
    names = list(case.step.awaits or [])
    quoted = words.listed([repr(name) for name in names]) or "of an unknown name"
    deadline = f", until {case.when(case.step.wake_at)}" if case.step.wake_at else ", without a deadline"
    moves = [case.command("signal", _quoted(name), "--data '{...}'") for name in names or ["NAME"]]
    if case.step.wake_at:
        moves.append("at its deadline the skill is told that the signal did not come")
    return f"it waits for the signal {quoted}{deadline}", moves, {"signals": names, "deadline": case.step.wake_at}


def _children(case: _Case) -> Said:
    ids = [name.removeprefix("child:") for name in case.step.awaits or [] if name.startswith("child:")]
    children = list(Run.objects.filter(pk__in=ids).exclude(state__in=ENDED).order_by("id"))
    names = [f"{child.workflow} {child.id} ({child.state})" for child in children]
    facts = {"children": [{"run": child.id, "skill": child.workflow, "state": child.state} for child in children]}
    if not children:
        return "its child runs have ended, and it is about to be told", ["the next tick of upkeep"], facts
    moves = [f"manage.py why {child.id}" for child in children[:5]]
    return f"it waits for {words.counted(len(children), 'child run')}: {words.listed(names)}", moves, facts


def _retry(case: _Case) -> Said:
    step = case.step
    limit = Policy.of(step.options).retries
    text = f"it failed and is tried again at {case.when(step.wake_at)}, retry {step.retry_count} of {limit}"
    facts = {"wake_at": step.wake_at, "retry": step.retry_count, "retries": limit, "error": step.error}
    return f"{text}: {said_error(step.error)}", ["its retry timer"], facts


# What holds it back


def _budget(case: _Case) -> Said:
    step, run = case.step, case.run
    part, wanted, wanted_tokens = _left_of_job(case) if step.skill == LANE else ("its next part", *_wanted(step))
    missing_of_run = _missing(run, wanted, wanted_tokens)
    missing_of_agent = _missing(step.agent, wanted, wanted_tokens)
    texts, moves = [], []
    if missing_of_run is not None:
        cost, tokens = missing_of_run
        texts.append(f"the run's budget has {_budget_words(run)}; missing: {_amounts(cost, tokens)}")
        parts = [*(["--cost", words.money(cost)] if cost else []), *(["--tokens", str(tokens)] if tokens else [])]
        more = "(less does as many items as it pays for)" if step.skill == LANE else "(or more)"
        moves.append(f"{case.command('topup', *parts)} {more}" if parts else case.command("resume"))
    if missing_of_agent is not None and any(missing_of_agent):
        texts.append(
            f"the budget of agent {step.agent.name!r} has {_budget_words(step.agent)}; "
            f"missing: {_amounts(*missing_of_agent)}"
        )
        moves.append(
            f"raise the budget of agent {step.agent.name!r} (agents.set_budget), then {case.command('resume')}"
        )
    joint = ", about" if step.skill == LANE else " of"
    detail = f"{joint} {_amounts(wanted, wanted_tokens)}" if wanted or wanted_tokens else ""
    facts = {"run_missing": missing_of_run, "agent_missing": missing_of_agent, "wanted_cost": wanted}
    return (
        f"the budget does not hold {part}{detail}: " + "; ".join(texts or ["it has room again"]),
        (moves or [case.command("resume")]),
        facts,
    )


def _wanted(step: Step) -> tuple[Decimal, int]:
    """Return the money and tokens that the step wants: what it tried to reserve when it parked, or its reserve."""
    found = _WANTED.match(str((step.error or {}).get("message", "")))
    cost, tokens = (Decimal(found[1]), int(found[2] or 0)) if found else (Decimal(0), 0)
    return max(cost, step.reserve_cost), max(tokens, step.reserve_tokens)


def _left_of_job(case: _Case) -> tuple[str, Decimal, int]:
    """Return what is left of a job, in words, money and tokens, at what an item reserves or has cost, the greater."""
    from execution import jobs

    job = jobs.get(case.run.id)
    far = jobs.progress(job)
    done = max(far.completed_count + far.failed_count, 1)
    cost = max(job.reserve_cost, (far.cost / done).quantize(Decimal("0.000001")))
    tokens = max(job.reserve_tokens, math.ceil(far.tokens / done))
    told = f"the {words.counted(far.left_count, 'item')} of the job that {'is' if far.left_count == 1 else 'are'} left"
    return told, cost * far.left_count, tokens * far.left_count


def _missing(holder: Any, cost: Decimal, tokens: int) -> tuple[Decimal, int] | None:
    """Return the money and tokens that a holder's budget lacks; None where it has no budget."""
    if holder.budget_cost is None and holder.budget_tokens is None:
        return None
    lacks_cost = (
        holder.spent_cost + holder.reserved_cost + cost - holder.budget_cost if holder.budget_cost is not None else 0
    )
    lacks_tokens = (
        holder.spent_tokens + holder.reserved_tokens + tokens - holder.budget_tokens
        if holder.budget_tokens is not None
        else 0
    )
    return max(Decimal(lacks_cost), Decimal(0)), max(lacks_tokens, 0)


def _budget_words(holder: Any) -> str:
    parts = []
    if holder.budget_cost is not None:
        parts.append(
            f"{words.money(holder.spent_cost)} spent and {words.money(holder.reserved_cost)} reserved "
            f"of {words.money(holder.budget_cost)}"
        )
    if holder.budget_tokens is not None:
        parts.append(
            f"{holder.spent_tokens:,} tokens spent and {holder.reserved_tokens:,} reserved of {holder.budget_tokens:,}"
        )
    return ", ".join(parts)


def _amounts(cost: Decimal, tokens: int) -> str:
    parts = [*([words.money(cost)] if cost else []), *([words.counted(tokens, "token")] if tokens else [])]
    return " and ".join(parts) or "nothing by now"


def _key(case: _Case) -> Said:
    step = case.step
    key = ConcurrencyKey.objects.filter(name=step.key or "").first()
    holders = list(Step.objects.filter(key=step.key, state=StepState.RUNNING).order_by("changed_at")[:6])
    ahead = (
        Step.objects.filter(key=step.key, state=StepState.WAITING, waiting=Waiting.KEY)
        .filter(Q(priority__gt=step.priority) | Q(priority=step.priority, id__lt=step.id))
        .count()
    )
    held = words.listed([f"run {h.run_id} ({h.skill}, since {words.length(case.now - h.changed_at)})" for h in holders])
    limit = key.limit_count if key else None
    text = f"the concurrency key {step.key!r}"
    if limit is not None:
        text += f" lets {words.counted(limit, 'step')} run at once"
    if key and key.rate_count is not None:
        text += f"{' and' if limit is not None else ''} starts {key.rate_count} per {words.length(key.rate_seconds)}"
    text += f"; held by {held}" if held else "; nobody holds it now"
    text += f"; {words.counted(ahead, 'step')} before it" if ahead else "; it is the next"
    if step.wake_at:
        text += f"; it may start at {case.when(step.wake_at)}"
    moves = ["the ending of a step that holds the key", "a higher limit of the key, in the admin"]
    facts = {"key": step.key, "limit": limit, "holders": [h.run_id for h in holders], "ahead": ahead}
    return text, moves, facts


def _breaker(case: _Case) -> Said:
    step = case.step
    breaker = Breaker.objects.filter(name=step.breaker).first()
    if breaker is None or breaker.state == BreakerState.CLOSED:
        return f"the breaker {step.breaker!r} is closed again", ["the next tick of upkeep"], {"breaker": step.breaker}
    failures = words.counted(breaker.failure_count, "failure")
    text = f"the breaker {step.breaker!r} is {breaker.state} after {failures} in a row"
    facts = {"breaker": breaker.name, "state": breaker.state, "probe_at": breaker.probe_at}
    if breaker.probe_at is not None and breaker.probe_at >= breakers.FOR_EVER:
        return f"the breaker {step.breaker!r} is open until a person closes it", ["closing it, in the admin"], facts
    text += f"; it lets one step through at {case.when(breaker.probe_at)}" if breaker.probe_at else ""
    return text, ["a probe that succeeds", "resetting the breaker, in the admin"], facts


def _lockout(case: _Case) -> Said:
    step = case.step
    found = list(
        CapabilityLockout.objects.filter(
            Q(agent=None) | Q(agent_id=step.agent_id),
            Q(until=None) | Q(until__gt=case.now),
            capability=step.capability,
            lifted_at=None,
        )
    )
    until = [case.when(lock.until) if lock.until else "it is lifted" for lock in found]
    why = words.listed([lock.reason for lock in found if lock.reason])
    text = f"agent {step.agent.name!r} may not use the capability {step.capability!r}"
    text += f" until {words.listed(until)}" if until else " (the lockout is over)"
    facts = {"capability": step.capability, "until": [lock.until for lock in found]}
    return text + (f": {why}" if why else ""), ["lifting the lockout, in the admin"], facts


def _autonomy(case: _Case) -> Said:
    step = case.step
    text = (
        f"it needs the autonomy level {Level(step.level).label} ({step.level}), and agent {step.agent.name!r} has "
        f"{Level(step.agent.level).label} ({step.agent.level})"
    )
    moves = [case.command("approve"), case.command("cancel")]
    if step.agent.level >= step.level:
        text, moves = f"{text} by now", [case.command("resume"), *moves]
    return text, moves, {"needed": step.level, "level": step.agent.level}


def _effect(case: _Case) -> Said:
    from execution import ledger

    found = list(Effect.objects.filter(step_id=case.step.id, state=EffectState.INTENDED).order_by("intended_at"))
    shown, moves, facts = [], [], []
    for effect in found:
        intent = ledger.unpack(effect.intent)
        token = _quoted(shown_token(effect.token))
        shown.append(
            f"{token}, intended at {case.when(effect.intended_at)} with {words.one_line(intent)}, key {effect.key!r}"
        )
        moves.append(f"{case.command('effect', token, 'done')} (it was done), or `again` (do it again), or `failed`")
        facts.append({"token": effect.token, "key": effect.key, "intent": intent, "intended_at": effect.intended_at})
    text = "nobody knows whether an effect was done: " + "; ".join(shown or [said_error(case.step.error)])
    return text, moves or [case.command("resume")], {"effects": facts}


def _version(case: _Case) -> Said:
    text = f"its skill has another version now: {said_error(case.step.error)}"
    return text, [f"{case.command('resume')} (go on under the new version)", case.command("cancel")], {}


def _paused(case: _Case) -> Said:
    if case.run.state == RunState.PAUSED and case.run.waiting == sessions.WITH_SESSION:
        text = paused_by(case.run, case.now)
        return text, [f"manage.py sessions reopen {case.run.session_id}"], {"session": case.run.session_id}
    if case.run.state == RunState.PAUSED:
        return paused_by(case.run, case.now), [case.command("resume")], {}
    if case.run.state == RunState.PARKED:
        return "it is held back while its run waits for a person", [case.command("why"), case.command("resume")], {}
    return f"it is held back while its run is {case.run.state}", [case.command("resume")], {}


# What waits for a worker


def _capacity(case: _Case) -> Said:
    step = case.step
    text, moves, facts = _slots(case)
    if step.is_suspect:
        text += "; it was in a worker that died, so that it starts only in a process that performs nothing else"
    if step.rung_at:
        text += f"; its message is outstanding since {case.when(step.rung_at)}"
        text += f", sent {step.ring_count} times" if step.ring_count > 1 else ""
    else:
        text += "; the feeder will ring for it"
    more_urgent = Step.objects.filter(queue=step.queue, state=StepState.READY, priority__gt=step.priority)[
        :1000
    ].count()
    if more_urgent:
        text += f"; {words.counted(more_urgent, 'step')} of a higher priority before it"
    return text, moves, facts | {"queue": step.queue, "rung_at": step.rung_at, "more_urgent": more_urgent}


def _slots(case: _Case) -> Said:
    """Say how the workers of the step's queue stand."""
    queue = case.step.queue
    crew = list(Worker.objects.filter(gone_at=None, queues__contains=[queue], seen_at__gt=case.now - SILENT_AFTER))
    slots, free = sum(worker.slot_count for worker in crew), sum(worker.free_count for worker in crew)
    facts = {"workers": len(crew), "slots": slots, "free": free}
    if not crew:
        moves = [f"start a worker: celery -A <project> worker -Q {queue}"]
        return f"no worker consumes the queue {queue!r}{_last_seen(case, queue)}", moves, facts
    if all(worker.is_draining for worker in crew):
        return f"every worker of the queue {queue!r} is shutting down", ["another worker"], facts
    if free == 0:
        of = f"{words.counted(slots, 'slot')} of {words.counted(len(crew), 'worker')}"
        text = f"all {of} on the queue {queue!r} are busy"
        return text, ["the ending of what is performed", "another worker"], facts
    are = "is" if free == 1 else "are"
    text = f"it is ready, and {words.counted(free, 'slot')} of {slots} on the queue {queue!r} {are} free"
    tick = CycleState.objects.filter(name="execution.upkeep").values_list("ticked_at", flat=True).first()
    if tick is None or tick < case.now - SILENT_AFTER:
        text += "; but upkeep has not ticked" + (f" since {case.when(tick)}" if tick else " yet")
        return text, ["manage.py doctor"], facts
    if case.step.skill not in skills.all_skills():
        text += f"; but no skill is named {case.step.skill!r} here; a worker that knows none drops its message"
        return text, ["a worker that imports its module"], facts
    return text, ["its message, within a second or two"], facts


def _last_seen(case: _Case, queue: str) -> str:
    last = Worker.objects.filter(queues__contains=[queue]).order_by("-seen_at").first()
    return f" (the last one, {last.hostname}, was seen at {case.when(last.seen_at)})" if last else ""


def _quoted(text: str) -> str:
    import shlex

    return shlex.quote(text)


_SAYINGS: dict[Waiting, Callable[[_Case], Said]] = {
    Waiting.NEEDS: _needs,
    Waiting.TIMER: _timer,
    Waiting.SIGNAL: _signal,
    Waiting.CHILDREN: _children,
    Waiting.RETRY: _retry,
    Waiting.BUDGET: _budget,
    Waiting.KEY: _key,
    Waiting.BREAKER: _breaker,
    Waiting.LOCKOUT: _lockout,
    Waiting.AUTONOMY: _autonomy,
    Waiting.EFFECT: _effect,
    Waiting.VERSION: _version,
    Waiting.PAUSED: _paused,
    Waiting.CAPACITY: _capacity,
}


# In short, for lists


def in_short(step: Step, now: datetime) -> str:
    """Say in a few words why a step is where it is, from its own row alone."""
    if step.state == StepState.RUNNING:
        return "performing" if step.epoch <= 1 else "performing, taken up again"
    waiting = Waiting(step.waiting)
    if waiting in _SHORT:
        return _SHORT[waiting](step, now)
    return str(waiting.value)


def _due(step: Step, now: datetime) -> str:
    if step.wake_at is None:
        return ""
    return f" in {words.length(step.wake_at - now)}" if step.wake_at > now else " now"


_SHORT: dict[Waiting, Callable[[Step, datetime], str]] = {
    Waiting.NEEDS: lambda step, _: f"needs {words.counted(step.pending_count, 'step')}",
    Waiting.TIMER: lambda step, now: f"timer{_due(step, now)}",
    Waiting.SIGNAL: lambda step, _: (
        f"approval at gate {step.name}"
        if step.skill == APPROVAL
        else f"signal {words.listed(list(step.awaits or []), 2)}"
    ),
    Waiting.CHILDREN: lambda step, _: f"children: {words.counted(len(step.awaits or []), 'run')}",
    Waiting.RETRY: lambda step, now: f"retry {step.retry_count}{_due(step, now)}: {said_error(step.error)}",
    Waiting.KEY: lambda step, _: f"key {step.key}",
    Waiting.BREAKER: lambda step, now: f"breaker {step.breaker}{_due(step, now)}",
    Waiting.LOCKOUT: lambda step, _: f"lockout of {step.capability}",
    Waiting.AUTONOMY: lambda step, _: f"autonomy: needs level {step.level}",
    Waiting.CAPACITY: lambda step, _: f"capacity: queue {step.queue}",
}
