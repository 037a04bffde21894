"""What of recovery waits for a person: candidates, incidents' plans, questions of handlers, dead letters."""

from __future__ import annotations

from typing import Any

from django import forms
from django.db.models import Case, CharField, Exists, F, OuterRef, Q, Subquery, When
from django.db.models.functions import Coalesce, Concat, NullIf
from django.urls import reverse

from execution import words
from execution.admin import shown
from execution.admin.reasons import ReasonForm
from execution.exceptions import NotAllowed
from execution.models import Step, StepState, Waiting
from execution.room.inbox.parts import Decision, Evidence, Rows, Source, Told, text, waiting
from recovery import dead_letters, decisions, handling, incidents, remedies
from recovery.models import (
    CandidateState,
    DeadLetter,
    Handling,
    HandlingState,
    Incident,
    RecoveryCandidate,
    SuggestionAction,
)
from recovery.occurrences import OWN_WORKFLOW

DECIDE, ANSWER, ANSWER_INCIDENT, REPLAY = (
    "recovery.decide_candidate",
    "recovery.answer_handling",
    "recovery.answer_incident",
    "recovery.replay_deadletter",
)
DONE_AT_ONCE = "it is done at once; pause or cancel the run instead"
_EMPTY = text("")


def _page(name: str, key: Any) -> str:
    return reverse(f"admin:recovery_{name}_change", args=[key])


# Candidates


def _candidates() -> Rows:
    rows = RecoveryCandidate.objects.filter(state=CandidateState.WAITING)
    error = Coalesce(NullIf(F("failure__error_type"), _EMPTY), F("error_kind"), output_field=CharField())
    unknown = Concat(F("skill"), text(": "), error, output_field=CharField())
    return waiting(
        rows.select_related("pattern", "failure"),
        since=Coalesce(F("evaluated_at"), F("created_at")),
        cost=F("failure__cost"),
        pattern=Coalesce(F("pattern__name"), unknown, output_field=CharField()),
        agent=F("agent_id"),
    )


def _of_candidate(one: RecoveryCandidate) -> Told:
    error = one.failure.error_type or one.error_kind
    asks = f"{one.skill} failed: {error}. "
    asks += f"Recover it by {one.action}?" if one.action else "Nothing is suggested: what shall be done?"
    return Told(
        asks=asks,
        about=words.one_line(one.needs, 200),
        run_id=one.run_id,
        url=_page("recoverycandidate", one.pk),
    )


def _evidence_of_candidate(one: RecoveryCandidate) -> Evidence:
    return Evidence(
        facts={
            "What failed": shown.pre(one.failure.message) if one.failure.message else shown.EMPTY,
            "Asks because": one.needs or shown.EMPTY,
            "Pattern": one.pattern.name if one.pattern else "none knows this failure",
            "Burnt": words.money(one.failure.cost),
            "Run": shown.link("run", one.run_id),
            "Failed this long ago": shown.age(one.failed_at),
            "Further failures alike": str(one.joined_count),
        },
        alternatives=[_choice(found, is_first=not place) for place, found in enumerate(_choices(one))],
    )


def _choices(one: RecoveryCandidate) -> list[dict[str, Any]]:
    """Return what is suggested, and what else could be done."""
    counts = {"tried": one.evidence.get("tried", 0), "recovered": one.evidence.get("recovered", 0)}
    first = {"action": one.action, "confidence": one.confidence, "bound": one.bound, "parameters": one.parameters}
    return [first | counts, *one.alternatives] if one.action else list(one.alternatives)


def _choice(found: dict[str, Any], *, is_first: bool) -> dict[str, str]:
    return {
        "Action": f"{found['action']} (suggested)" if is_first else found["action"],
        "Recovers": shown.EMPTY if found["confidence"] is None else f"{found['confidence']:.0%}",
        "For sure": shown.EMPTY if found["bound"] is None else f"{found['bound']:.0%}",
        "Recovered": f"{found['recovered']} of {found['tried']}",
        "With": ", ".join(f"{name} {value}" for name, value in found["parameters"].items()) or shown.EMPTY,
    }


def _is_suggested(one: RecoveryCandidate) -> bool:
    return bool(one.action)


def _approve(one: RecoveryCandidate, *, by: str, reason: str) -> str:
    return _applied(decisions.approve_and_apply(one, by=by, reason=reason))


class OtherForm(ReasonForm):
    """What shall be done instead, and why."""

    action = forms.ModelChoiceField(
        SuggestionAction.objects.filter(is_enabled=True).order_by("name"), label="Do this instead"
    )
    field_order = ("action", "reason")


def _other(one: RecoveryCandidate, *, action: SuggestionAction, by: str, reason: str) -> str:
    changed = decisions.change_and_approve(one, action=action.name, by=by, reason=reason)
    return _applied(decisions.apply(changed, by=by))


def _applied(done: RecoveryCandidate) -> str:
    if done.state == CandidateState.WAITING:
        raise NotAllowed(decisions.said(done))
    return decisions.said(done)


def _reject(one: RecoveryCandidate, *, by: str, reason: str) -> str:
    decisions.reject(one, by=by, reason=reason)
    return "rejected: its run stays as it is"


def _reopen(key: str, *, by: str, reason: str) -> str:
    decisions.reopen(key, by=by, reason=reason)
    return "it waits for a decision again"


def _became_of_candidate(key: str) -> str:
    one = RecoveryCandidate.objects.filter(pk=key).first()
    if one is None:
        return "there is no such candidate any more"
    who = one.decided_by or ("a rule" if one.decision else "")
    return f"{who} was faster: it is {decisions.said(one)}" if who else f"it is {decisions.said(one)}"


# Incidents


def _incidents() -> Rows:
    """Return the open incidents whose plan waits at its gate."""
    gate = Step.objects.filter(
        run_id=OuterRef("run_id"), name=incidents.GATE, state=StepState.WAITING, waiting=Waiting.SIGNAL
    )
    rows = Incident.objects.open().filter(Exists(gate))
    since = Coalesce(Subquery(gate.values("changed_at")[:1]), F("opened_at"))
    return waiting(rows, since=since, pattern=F("title"))


def _of_incident(incident: Incident) -> Told:
    return Told(
        asks=f"{incident.title}. Shall its remediation be done?",
        about=words.one_line(incident.cause or incident.summary, 200),
        run_id=incident.run_id,
        url=_page("incident", incident.pk),
    )


def _evidence_of_incident(incident: Incident) -> Evidence:
    asked = incidents.waits_for(incident)
    plan = remedies.Plan.of(asked["plan"]) if asked else None
    return Evidence(
        facts={
            "Plan": str(plan) if plan else "it is not asked about any more",
            "Asks because": plan.why_asked if plan else shown.EMPTY,
            "Severity": shown.state(incident.severity),
            "Affected": words.listed(incident.services, 20) or shown.EMPTY,
            "Cause": incident.cause or "not known",
            "What happened": incident.summary or shown.EMPTY,
            "Opened": shown.age(incident.opened_at),
            "Run": shown.link("run", incident.run_id),
        }
    )


def _let_remedy(incident: Incident, *, by: str, reason: str) -> str:
    incidents.approve(incident, by=by, reason=reason)
    return "the remediation is done now"


def _refuse_remedy(incident: Incident, *, by: str, reason: str) -> str:
    incidents.refuse(incident, by=by, reason=reason)
    return "the remediation is refused: a person goes on"


def _close(incident: Incident, *, by: str, reason: str) -> str:
    incidents.close(incident, by=by, reason=reason)
    return "the incident is closed"


def _became_of_incident(key: str) -> str:
    incident = Incident.objects.filter(pk=key).first()
    entry = incident.entries.exclude(by="").order_by("-id").first() if incident else None
    state = f"the incident is {incident.state}" if incident else "there is no such incident any more"
    return f"{entry.by} was faster ({entry.kind}): {state}" if entry else state


# Questions of handlers


def _questions() -> Rows:
    rows = Handling.objects.filter(state=HandlingState.WAITING).exclude(question="")
    return waiting(rows, since=F("created_at"), pattern=F("handler"))


def _of_question(row: Handling) -> Told:
    return Told(
        asks=words.one_line(row.question, 300),
        about=f"{row.handler} asks about {row.kind}",
        url=_page("handling", row.pk),
    )


def _evidence_of_question(row: Handling) -> Evidence:
    return Evidence(
        facts={
            "Handler": row.handler,
            "Event": shown.data(row.event),
            "Answered before": shown.data(row.answers or None),
            "Happened": shown.age(row.created_at),
        }
    )


class AnswerForm(ReasonForm):
    """What a handler is answered, and why."""

    answer = forms.CharField(
        max_length=4000,
        widget=forms.TextInput(attrs={"autofocus": True}),
        help_text="The handler is called again with it.",
    )
    field_order = ("answer", "reason")


def _answer(row: Handling, *, answer: str, by: str, reason: str) -> str:
    handling.resolve(row, answer, by=by, reason=reason)
    return "answered: the handler goes on"


def _became_of_question(key: str) -> str:
    row = Handling.objects.filter(pk=key).first()
    if row is None:
        return "there is no such question any more"
    return f"{row.answered_by} was faster and answered it" if row.answered_by else f"it is {row.state}"


# Dead letters


def _letters() -> Rows:
    rows = dead_letters.waiting().order_by().defer("body")
    queue = Case(When(queue="", then=text("unknown")), default=F("queue"), output_field=CharField())
    return waiting(rows, since=F("died_at"), pattern=queue)


def _of_letter(letter: DeadLetter) -> Told:
    handler = letter.queue.removeprefix(dead_letters.HANDLER)
    what = f"An event for {handler}" if handler != letter.queue else f"A message of {letter.queue}"
    return Told(
        asks=f"{what} was given up after {words.counted(letter.tries, 'try', 'tries')}. Replay it?",
        about=words.one_line(letter.reason.strip().rpartition("\n")[2], 200),
        url=_page("deadletter", letter.pk),
    )


def _evidence_of_letter(letter: DeadLetter) -> Evidence:
    return Evidence(
        facts={
            "Given up because": shown.pre(letter.reason),
            "Message": shown.data(letter.body),
            "Queue": letter.queue,
            "Died": shown.age(letter.died_at),
        }
    )


def _replay(letter: DeadLetter, *, by: str, reason: str) -> str:
    dead_letters.replay(letter, by=by, reason=reason)
    return "replayed"


def _dismiss(letter: DeadLetter, *, by: str, reason: str) -> str:
    dead_letters.dismiss(letter, by=by, reason=reason)
    return "put aside"


def _restore(key: str, *, by: str, reason: str) -> str:
    dead_letters.restore(dead_letters.get(key), by=by, reason=reason)
    return "it waits again"


def _became_of_letter(key: str) -> str:
    letter = DeadLetter.objects.filter(pk=key).first()
    if letter is None:
        return "there is no such letter any more"
    how = "put it aside" if letter.is_dismissed else "replayed it"
    return f"{letter.replayed_by or 'somebody'} was faster and {how}"


WAITING = [
    Source(
        kind="incident",
        noun="incident",
        title="Incidents",
        promise="the plan for an incident asks for a yes",
        permission="recovery.view_incident",
        rows=_incidents,
        tell=_of_incident,
        evidence=_evidence_of_incident,
        became=_became_of_incident,
        stands_for={"approval": Q(run__workflow=OWN_WORKFLOW)},
        decisions=[
            Decision(
                name="approve", key="a", permission=ANSWER_INCIDENT, act=_let_remedy, is_main=True,
                effect="The plan is carried out.", final="the plan is carried out at once; close the incident instead",
            ),
            Decision(
                name="refuse", key="r", permission=ANSWER_INCIDENT, act=_refuse_remedy,
                effect="Nothing is done: a person goes on.", final="a person goes on; its run can be retried",
            ),
            Decision(
                name="close", key="c", permission=ANSWER_INCIDENT, act=_close, is_grave=True,
                effect="The incident ends here, and its run is cancelled.", final="a closed incident stays closed",
            ),
        ],
    ),
    Source(
        kind="candidate",
        noun="recovery",
        title="Recoveries",
        promise="a run has failed, and what could recover it asks for a yes",
        permission="recovery.view_recoverycandidate",
        rows=_candidates,
        tell=_of_candidate,
        evidence=_evidence_of_candidate,
        became=_became_of_candidate,
        decisions=[
            Decision(
                name="approve", key="a", permission=DECIDE, act=_approve, is_main=True, fits=_is_suggested,
                effect="What is suggested is done at once.", final=DONE_AT_ONCE,
            ),
            Decision(
                name="reject", key="r", permission=DECIDE, act=_reject, undo=_reopen,
                effect="Nothing is done: the run stays as it is.",
            ),
            Decision(
                name="other", key="x", permission=DECIDE, act=_other, form=OtherForm,
                effect="Another action is done at once.", final=DONE_AT_ONCE,
            ),
        ],
    ),
    Source(
        kind="handler",
        noun="handler's question",
        title="Handlers' questions",
        promise="a handler of events stops to ask",
        permission="recovery.view_handling",
        rows=_questions,
        tell=_of_question,
        evidence=_evidence_of_question,
        became=_became_of_question,
        decisions=[
            Decision(
                name="answer", key="a", permission=ANSWER, act=_answer, form=AnswerForm, is_main=True,
                effect="The handler is called again with the answer.", final="the handler has the answer",
            ),
        ],
    ),
    Source(
        kind="letter",
        noun="dead letter",
        title="Dead letters",
        promise="a message could not be worked off, however often it was tried",
        permission="recovery.view_deadletter",
        rows=_letters,
        tell=_of_letter,
        evidence=_evidence_of_letter,
        became=_became_of_letter,
        decisions=[
            Decision(
                name="replay", key="p", permission=REPLAY, act=_replay, is_main=True,
                effect="It is tried anew, from the first try on.", final="what died lives again",
            ),
            Decision(
                name="dismiss", key="d", permission=REPLAY, act=_dismiss, undo=_restore,
                effect="It is put aside, and stays to be read.",
            ),
        ],
    ),
]  # fmt: skip
