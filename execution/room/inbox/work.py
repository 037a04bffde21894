"""What of execution waits for a person: gates, questions, budgets, unknown effects, autonomy, new versions."""

from __future__ import annotations

import uuid
from typing import Any

from django import forms
from django.db import transaction
from django.db.models import Exists, F, OuterRef, TextField, Value
from django.db.models.functions import Concat
from django.urls import reverse
from django.utils import timezone

from execution import budgets, effects, runs, why, words
from execution.admin import shown
from execution.admin.reasons import ReasonForm
from execution.exceptions import NotPossible
from execution.management.commands._command import json_or_text
from execution.models import Effect, EffectState, Event, Level, Run, RunState, Signal, Step, StepState, Waiting
from execution.models.agents import agent_name
from execution.room.inbox.parts import Decision, Evidence, Rows, Source, Told, waiting
from execution.workflows import gates

VIEW, OPERATE = "execution.view_run", "execution.operate_run"
GOES_ON = "the run goes on at once; pause or cancel it instead"
_LARGE = ("input", "output", "canvas", "run__input")
_HEARD = (RunState.PENDING, RunState.RUNNING, RunState.PAUSED, RunState.PARKED)
_LOOKED_BACK = 20
_DONE_WORDS = {
    "gate.approved": "approved it",
    "gate.refused": "refused it",
    "signal.received": "answered it",
    "budget.topped_up": "topped it up",
    "effect.decided": "decided it",
    "run.approved": "approved it",
    "run.resumed": "let it go on",
    "run.retried": "retried it",
    "run.paused": "paused it",
    "run.cancel_requested": "cancelled it",
}


# What waits


def _steps(**which: Any) -> Rows:
    """Return steps that wait for a person, with their runs, by the index of those."""
    pattern = (
        Concat(F("run__workflow"), Value(": "), F("name"), output_field=TextField())
        if which.get("skill") == why.APPROVAL
        else F("skill")
    )
    rows = Step.objects.filter(**which).select_related("run").prefetch_related("agent").defer(*_LARGE)
    return waiting(rows, since=F("changed_at"), cost=F("run__spent_cost"), pattern=pattern, agent=F("agent_id"))


def _heard(**which: Any) -> Rows:
    """Return steps that wait for a word, of runs that could hear it."""
    return _steps(state=StepState.WAITING, waiting=Waiting.SIGNAL, run__state__in=_HEARD, **which)


def _parked(reason: Waiting) -> Rows:
    """Return the parked steps of parked runs: one for each run, as they are decided together."""
    rows = _steps(state=StepState.PARKED, waiting=reason, run__state=RunState.PARKED)
    same = Step.objects.filter(run_id=OuterRef("run_id"), state=StepState.PARKED, waiting=reason)
    return rows.exclude(Exists(same.filter(pk__lt=OuterRef("pk"))))


def _effects() -> Rows:
    """Return the effects that nobody knows the outcome of, and that a parked step asks about."""
    asking = {
        "step__state": StepState.PARKED,
        "step__waiting": Waiting.EFFECT,
        "step__run__state": RunState.PARKED,
    }
    rows = Effect.objects.filter(state=EffectState.INTENDED, **asking)
    rows = rows.select_related("step__run").prefetch_related("step__agent").defer("receipt", "step__input")
    return waiting(
        rows,
        since=F("step__changed_at"),
        cost=F("step__run__spent_cost"),
        pattern=F("step__skill"),
        agent=F("step__agent_id"),
    )


# What is told


def _told(step: Step, asks: str, about: str = "") -> Told:
    return Told(
        asks=asks,
        about=about,
        run_id=step.run_id,
        url=reverse("admin:execution_run_change", args=[step.run_id]),
    )


def _of_gate(step: Step) -> Told:
    until = f"fails {words.when(step.wake_at, timezone.now())} unless somebody decides" if step.wake_at else ""
    return _told(step, f"May {step.run.workflow} pass the gate “{step.name}”?", until)


def _of_question(step: Step) -> Told:
    names = words.listed([f"“{name}”" for name in step.awaits or []]) or "an answer"
    until = f"gives up waiting {words.when(step.wake_at, timezone.now())}" if step.wake_at else ""
    return _told(step, f"{step.skill} waits for {names}. What is the answer?", until)


def _of_budget(step: Step) -> Told:
    spent = shown.spent(step.run.spent_cost, step.run.spent_tokens, step.run.budget_cost, step.run.budget_tokens)
    return _told(step, f"{step.run.workflow} has no budget left for its next part. Give it more?", f"spent {spent}")


def _of_autonomy(step: Step) -> Told:
    needed, has = (_level(level) for level in (step.level, step.agent.level))
    return _told(step, f"May {agent_name(step)} do {step.skill}? It is {has}, and this needs {needed}.")


def _level(level: int) -> str:
    return str(Level(level).label).replace("_", " ")


def _of_version(step: Step) -> Told:
    return _told(step, f"{step.skill} has a new version. Shall this run go on with it?", why.said_error(step.error))


def _of_effect(effect: Effect) -> Told:
    name = why.shown_token(effect.token)
    asks = f"Was “{name}” of {effect.step.skill} done? The process died before it could tell."
    return _told(effect.step, asks, f"key {effect.key}")


# Evidence


def _why(step: Step) -> dict[str, Any]:
    """Say why a step is where it is, as its run's page says it."""
    found = why.explain(step.run)
    mine = [reason.text for reason in found.reasons if reason.step_id == step.id]
    run = step.run
    return {
        "Why": " ".join(mine) or found.text,
        "Run": shown.link("run", run.id, f"{run.workflow} {shown.short(run.id)}"),
        "Agent": shown.link("agent", step.agent_id, agent_name(step)),
        "Spent": shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens),
        "Opened": shown.age(run.created_at),
        "Input": shown.value(_input(step)),
    }


def _input(step: Step) -> Any:
    packed: Any = Run.objects.filter(pk=step.run_id).values_list("input").first()
    return packed[0] if packed else None


def _evidence(step: Step) -> Evidence:
    return Evidence(facts=_why(step))


def _evidence_of_gate(step: Step) -> Evidence:
    asked = gates.asked(step)
    who = words.listed(asked["who"], 20) if asked["who"] else "anybody who may operate runs"
    return Evidence(facts={"Asked": shown.data(asked.get("given") or None), "Who may decide": who, **_why(step)})


def _evidence_of_effect(effect: Effect) -> Evidence:
    facts = {"Intended": shown.value(effect.intent), "When": shown.age(effect.intended_at), "Key": effect.key}
    return Evidence(facts=facts | _why(effect.step))


# What has become of it


def _became(key: str) -> str:
    """Say who was faster, as the log has it."""
    run_id = (
        Step.objects.filter(pk=key).values_list("run_id", flat=True).first()
        or Effect.objects.filter(pk=key).values_list("step__run_id", flat=True).first()
    )
    if run_id is None:
        return "there is no such thing any more"
    found = Event.objects.filter(run_id=run_id).order_by("-id")[:_LOOKED_BACK]
    for event in found:
        who = event.data.get("by") or event.data.get("sender")
        if event.kind in _DONE_WORDS and who:
            return f"{who} was faster and {_DONE_WORDS[event.kind]} {words.length(timezone.now() - event.at)} ago"
    state = Run.objects.values_list("state", flat=True).get(pk=run_id)
    return f"it waits no more: its run is {state}"


# Decisions


def _pass(step: Step, *, by: str, reason: str) -> str:
    runs.approve(step.run_id, step.name, by=by, reason=reason)
    return f"the gate “{step.name}” is passed"


def _refuse(step: Step, *, by: str, reason: str) -> str:
    runs.refuse(step.run_id, step.name, by=by, reason=reason)
    return f"the gate “{step.name}” is refused"


def _ask_again(key: str, *, by: str, reason: str) -> str:
    runs.retry(runs.get(key), by=by, reason=reason)
    return "the gate asks again"


class AnswerForm(ReasonForm):
    """What a waiting skill is answered, and why."""

    answer = forms.CharField(
        max_length=100_000,
        widget=forms.Textarea(attrs={"rows": 3, "autofocus": True}),
        help_text="Handed to the skill: as JSON where it is JSON, else as a text.",
    )
    field_order = ("answer", "reason")

    def clean_answer(self) -> Any:
        """Read the answer."""
        return json_or_text(self.cleaned_data["answer"])


def _answer(step: Step, *, answer: Any, by: str, reason: str) -> str:
    name = (step.awaits or [""])[0]
    said = uuid.uuid5(step.id, f"answer {step.epoch} {name}")
    if runs.signal(step.run_id, name, answer, sender=by, signal_id=said) == "already":
        sender = Signal.objects.filter(pk=said).values_list("sender", flat=True).first()
        raise NotPossible(f"{sender or 'somebody'} has answered already")
    runs.note("signal.answered", step.run, {"name": name, "by": by, "reason": reason}, step.id)
    return f"“{name}” is answered"


class TopUpForm(ReasonForm):
    """How much a run may spend more, and why."""

    cost = forms.DecimalField(
        label="Money to add", min_value=0, max_digits=20, decimal_places=6, required=False, initial="1.00"
    )
    tokens = forms.IntegerField(label="Tokens to add", min_value=0, required=False)
    field_order = ("cost", "tokens", "reason")

    def clean(self) -> dict[str, Any]:
        """Refuse to add nothing."""
        found = super().clean() or self.cleaned_data
        if not self.errors and not found.get("cost") and not found.get("tokens"):
            raise forms.ValidationError("Say how much: money, tokens, or both.")
        return found


@transaction.atomic
def _top_up(step: Step, *, cost: Any, tokens: int | None, by: str, reason: str) -> str:
    """Raise it once, whoever else does: the runs are held in the order in which `top_up` holds them."""
    for run_id in (step.run.parent_run_id, step.run_id):
        if run_id is not None:
            runs.hold(run_id)
    if not _parked(Waiting.BUDGET).filter(pk=step.pk, epoch=step.epoch).exists():
        raise NotPossible(_became(str(step.pk)))
    run = budgets.top_up(step.run_id, cost=cost or 0, tokens=tokens or 0, by=by, reason=reason)
    limit = shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens)
    return f"topped up: {limit} spent, and the run is {run.state}"


def _go_on(step: Step, *, by: str, reason: str) -> str:
    run = runs.resume(step.run_id, by=by, reason=reason)
    return f"the run is {run.state}"


def _cancel(step: Step, *, by: str, reason: str) -> str:
    run = runs.cancel(step.run_id, by=by, reason=reason)
    return f"the run is {run.state}"


def _let_start(step: Step, *, by: str, reason: str) -> str:
    runs.approve(step.run_id, by=by, reason=reason)
    return f"{agent_name(step)} may do it, this once"


def _park_again(key: str, *, by: str, reason: str) -> str:
    runs.withdraw_approval(key, by=by, reason=reason)
    return "it is parked again and waits for an approval"


class ReceiptForm(ReasonForm):
    """What an effect has returned, and how one knows."""

    receipt = forms.CharField(
        max_length=100_000,
        required=False,
        help_text="What the call would have returned, as JSON or text; empty: nothing.",
    )
    field_order = ("receipt", "reason")


def _was_done(effect: Effect, *, receipt: str, by: str, reason: str) -> str:
    effects.decide(effect, "done", receipt=json_or_text(receipt) if receipt else None, by=by, reason=reason)
    return "it counts as done, and is not done again"


def _do_again(effect: Effect, *, by: str, reason: str) -> str:
    effects.decide(effect, "again", by=by, reason=reason)
    return "it is done again"


def _has_failed(effect: Effect, *, by: str, reason: str) -> str:
    effects.decide(effect, "failed", by=by, reason=reason)
    return "it counts as failed, and its run is cancelled"


def _known(step: Step) -> bool:
    """Tell whether anything limits a run, so that it could be topped up."""
    return step.run.budget_cost is not None or step.run.budget_tokens is not None


_CANCEL = Decision(
    name="cancel", key="c", permission=OPERATE, act=_cancel, is_grave=True,
    effect="Ends the run; what it has recorded is kept.", final="a cancelled run does not go on; fork it instead",
)  # fmt: skip


WAITING = [
    Source(
        kind="approval",
        noun="approval",
        title="Approvals",
        promise="a workflow reaches a gate at which a person decides",
        permission=VIEW,
        rows=lambda: _heard(skill=why.APPROVAL),
        tell=_of_gate,
        evidence=_evidence_of_gate,
        became=_became,
        history=lambda step: step.run,
        decisions=[
            Decision(
                name="approve", key="a", permission=OPERATE, act=_pass, is_main=True,
                effect="The run goes on behind the gate.", final=GOES_ON,
            ),
            Decision(
                name="refuse", key="r", permission=OPERATE, act=_refuse, undo=_ask_again,
                effect="The gate fails, and the run goes on as its workflow says: as a rule, it ends there.",
            ),
        ],
    ),
    Source(
        kind="question",
        noun="question",
        title="Questions",
        promise="a skill waits for a signal that a person or a program sends",
        permission=VIEW,
        rows=lambda: _heard().exclude(skill=why.APPROVAL),
        tell=_of_question,
        evidence=_evidence,
        became=_became,
        history=lambda step: step.run,
        decisions=[
            Decision(
                name="answer", key="a", permission=OPERATE, act=_answer, form=AnswerForm, is_main=True,
                effect="The skill goes on with the answer.", final="the skill has the answer",
            ),
            _CANCEL,
        ],
    ),
    Source(
        kind="budget",
        noun="budget",
        title="Budgets",
        promise="a run has spent what it may",
        permission=VIEW,
        rows=lambda: _parked(Waiting.BUDGET),
        tell=_of_budget,
        evidence=_evidence,
        became=_became,
        history=lambda step: step.run,
        decisions=[
            Decision(
                name="top-up", key="t", permission=OPERATE, act=_top_up, form=TopUpForm, is_main=True, fits=_known,
                effect="Raises the run's budget by this much, and lets it go on.",
                final="a budget is not lowered again; pause or cancel the run instead",
            ),
            Decision(
                name="go-on", key="g", permission=OPERATE, act=_go_on, final=GOES_ON,
                effect="Lets the run try again, where the budget of its agent was raised meanwhile.",
            ),
            _CANCEL,
        ],
    ),
    Source(
        kind="effect",
        noun="unknown effect",
        title="Unknown effects",
        promise="a process died between doing something to the outside and noting it",
        permission=VIEW,
        rows=_effects,
        tell=_of_effect,
        evidence=_evidence_of_effect,
        became=_became,
        history=lambda effect: effect.step.run,
        decisions=[
            Decision(
                name="done", key="d", permission=OPERATE, act=_was_done, form=ReceiptForm,
                effect="The run goes on as if the call had returned this.", final=GOES_ON,
            ),
            Decision(
                name="again", key="a", permission=OPERATE, act=_do_again,
                effect="The call is made once more, with the same key.", final=GOES_ON,
            ),
            Decision(
                name="failed", key="f", permission=OPERATE, act=_has_failed, is_grave=True,
                effect="The run is cancelled.", final="a cancelled run does not go on; fork it instead",
            ),
        ],
    ),
    Source(
        kind="autonomy",
        noun="above its level",
        title="Above the level",
        promise="a step needs more trust than its agent has earned",
        permission=VIEW,
        rows=lambda: _parked(Waiting.AUTONOMY),
        tell=_of_autonomy,
        evidence=_evidence,
        became=_became,
        history=lambda step: step.run,
        decisions=[
            Decision(
                name="approve", key="a", permission=OPERATE, act=_let_start, is_main=True, undo=_park_again,
                effect="The steps of this run that wait for it may start, this once; the agent's level stays.",
            ),
            _CANCEL,
        ],
    ),
    Source(
        kind="version",
        noun="new version",
        title="New versions",
        promise="a skill was changed while a run of it was under way, and asks before it goes on",
        permission=VIEW,
        rows=lambda: _parked(Waiting.VERSION),
        tell=_of_version,
        evidence=_evidence,
        became=_became,
        history=lambda step: step.run,
        decisions=[
            Decision(
                name="go-on", key="g", permission=OPERATE, act=_go_on, is_main=True, final=GOES_ON,
                effect="The run goes on under the new version; what it has recorded stays.",
            ),
            _CANCEL,
        ],
    ),
]  # fmt: skip
