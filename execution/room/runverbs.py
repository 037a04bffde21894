"""What a person can do to one run, each with a form that says what it does and asks why.

The verbs themselves stand in `runs`, `budgets`, `effects` and `jobs`; here is what each asks for, and when its button
is shown.
"""

from __future__ import annotations

from collections.abc import Callable

from django import forms
from django.http import Http404, QueryDict

from execution import budgets, effects, jobs, ledger, openings, runs, why
from execution.admin import shown
from execution.admin.lists import as_uuid
from execution.exceptions import CeleriacError, OptionInvalid
from execution.models import ENDED, Effect, EffectState, Run, RunState, Step
from execution.room import inputs
from execution.room.doing import About, Form, Given, Verb, form_of, reasoned
from execution.room.inputs import JsonField
from execution.workflows import gates

STEPS_MOST = 1000
OPERATE = "execution.operate_run"


def _in(*states: RunState) -> Callable[[Run], bool]:
    return lambda run: run.state in states


# Gates, signals and effects: what a run waits for


def _gate_form(_: Run, asked: QueryDict) -> Form:
    gate = forms.CharField(widget=forms.HiddenInput, required=False, initial=asked.get("gate", ""))
    return form_of("GateForm", {"gate": gate})


def _gate_about(run: Run, asked: QueryDict) -> About:
    """Return what a gate shows to who decides."""
    step = next((one for one in gates.open_gates(run) if one.name == asked.get("gate")), None)
    if step is None:
        return []
    found = gates.asked(step)
    who = ", ".join(found["who"]) or "anybody"
    return [
        ("Gate", step.name),
        ("Who may decide", who),
        *[(name, shown.data(one)) for name, one in found["given"].items()],
    ]


def _answer_form(_: Run, asked: QueryDict) -> Form:
    name = forms.CharField(label="Signal", max_length=255, initial=asked.get("signal", ""))
    text = 'What it brings, as JSON: {"accepted": true}, "a text", 12. Nothing is null.'
    return form_of("AnswerForm", {"signal": name, "data": JsonField(label="Data", required=False, help_text=text)})


def _answer(run: Run, by: str, given: Given) -> Run:
    runs.signal(run, given["signal"], given["data"], sender=by)
    return runs.get(run.id)


def _unknown(run: Run, asked: QueryDict) -> Effect:
    """Return the effect that is decided about."""
    wanted = as_uuid(asked.get("effect", ""))
    found = Effect.objects.filter(pk=wanted, step__run_id=run.id).first() if wanted else None
    if found is None:
        raise Http404("this run has no such effect")
    return found


def _decide_form(run: Run, asked: QueryDict) -> Form:
    choices = [
        ("done", "It was done: go on with this receipt"),
        ("again", "It was not done: do it again"),
        ("failed", "It has failed: cancel the run"),
    ]
    fields: dict[str, forms.Field] = {
        "effect": forms.UUIDField(widget=forms.HiddenInput, initial=_unknown(run, asked).id),
        "decision": forms.ChoiceField(label="What became of it", choices=choices, widget=forms.RadioSelect),
        "receipt": JsonField(
            label="Receipt", required=False, help_text="Where it was done: what the call would have returned, as JSON."
        ),
    }
    return form_of("DecideForm", fields)


def _decide_about(run: Run, asked: QueryDict) -> About:
    effect = _unknown(run, asked)
    about: About = [
        ("Effect", why.shown_token(effect.token)),
        ("Its key on the other side", effect.key),
        ("Intended", shown.age(effect.intended_at)),
        ("With", shown.value(effect.intent)),
    ]
    return about if effect.state == EffectState.INTENDED else [*about, ("It is", shown.state(effect.state))]


def _decide(run: Run, by: str, given: Given) -> Run:
    effect = Effect.objects.get(pk=given["effect"], step__run_id=run.id)
    effects.decide(effect, given["decision"], receipt=given["receipt"], **reasoned(by, given))
    return runs.get(run.id)


# Budgets


def _top_up_form(run: Run, asked: QueryDict) -> Form:
    fields: dict[str, forms.Field] = {}
    if run.budget_cost is not None:
        fields["cost"] = forms.DecimalField(
            label="Money to add",
            min_value=0,
            max_digits=20,
            decimal_places=6,
            required=False,
            initial=asked.get("cost"),
        )
    if run.budget_tokens is not None:
        fields["tokens"] = forms.IntegerField(
            label="Tokens to add", min_value=0, required=False, initial=asked.get("tokens")
        )
    return form_of("TopUpForm", fields)


def _top_up(run: Run, by: str, given: Given) -> Run:
    cost, tokens = given.get("cost") or 0, given.get("tokens") or 0
    if not cost and not tokens:
        raise OptionInvalid("Say how much is added: money, tokens, or both.")
    return budgets.top_up(run, cost=cost, tokens=tokens, **reasoned(by, given))


def _top_up_about(run: Run, _: QueryDict) -> About:
    return [("Spent", shown.spent(run.spent_cost, run.spent_tokens, run.budget_cost, run.budget_tokens))]


# Forks


def _fork_form(run: Run, asked: QueryDict) -> Form:
    rows = Step.objects.filter(run_id=run.id, position__gte=0).order_by("position").values_list("name", flat=True)
    names = [name for name in rows[:STEPS_MOST] if not name.startswith("(")]
    step = forms.ChoiceField(
        label="From",
        required=False,
        initial=asked.get("step", ""),
        choices=[("", "the start: everything is done again"), *((name, name) for name in names)],
        help_text="What does not come after this step is kept as it is.",
    )
    one = {"step": step} if len(names) > 1 else {}
    return form_of("ForkForm", {**one, **_input_fields(run)})


def _input_fields(run: Run) -> dict[str, forms.Field]:
    """Return a field for each input of a run, filled with what it was started with."""
    recorded = (ledger.unpack(run.input) or {}).get("kwargs", {})
    try:
        wanted = inputs.wanted_by(openings.task_of(_source(run)))
    except CeleriacError:
        return {}
    return inputs.fields(wanted, recorded)


def _source(run: Run) -> str:
    """Return the name by which a run is opened again: of a workflow, the same version."""
    is_single = Step.objects.filter(pk=run.id).exists()
    return run.workflow if is_single or not run.version else f"{run.workflow}@{run.version}"


def _fork(run: Run, by: str, given: Given) -> Run:
    recorded = (ledger.unpack(run.input) or {}).get("kwargs", {})
    changed = {name: value for name, value in inputs.given(given).items() if recorded.get(name) != value}
    return runs.fork(run, given.get("step") or None, input=changed or None, **reasoned(by, given))


def _retry(run: Run, by: str, given: Given) -> Run:
    """Try again; of a job, its failed items with it."""
    if is_job(run):
        return jobs.retry(run.id, **reasoned(by, given)).run
    return runs.retry(run, **reasoned(by, given))


def is_job(run: Run) -> bool:
    """Tell whether a run carries out a job."""
    return run.workflow.startswith("job:")


def _has_failed_items(run: Run) -> bool:
    return is_job(run) and run.state == RunState.COMPLETED and jobs.progress(run.id).failed_count > 0


VERBS: dict[str, Verb] = {
    verb.name: verb
    for verb in (
        Verb(
            name="pause",
            title="Pause",
            text="Nothing new starts; what is performed stops at its next checkpoint. Its child runs pause with it.",
            done="paused",
            do=lambda run, by, given: runs.pause(run.id, **reasoned(by, given)),
            permission=OPERATE,
            fits=_in(RunState.PENDING, RunState.RUNNING, RunState.PARKED),
        ),
        Verb(
            name="resume",
            title="Resume",
            text="The run goes on from what it has recorded.",
            done="resumed",
            do=lambda run, by, given: runs.resume(run.id, **reasoned(by, given)),
            permission=OPERATE,
            fits=_in(RunState.PAUSED, RunState.PARKED),
        ),
        Verb(
            name="retry",
            title="Retry",
            text="The run goes on from the step that failed. Everything that it has recorded is kept.",
            done="retried",
            do=_retry,
            permission=OPERATE,
            fits=lambda run: run.state == RunState.FAILED or _has_failed_items(run),
        ),
        Verb(
            name="top-up",
            title="Top up",
            text="The budget is raised. A run that is parked for its budget goes on.",
            done="topped up",
            do=_top_up,
            permission=OPERATE,
            fits=lambda run: (
                (run.budget_cost is not None or run.budget_tokens is not None)
                and (run.state not in ENDED or run.state == RunState.FAILED)
            ),
            form=_top_up_form,
            about=_top_up_about,
        ),
        Verb(
            name="fork",
            title="Fork",
            text="A new run goes on from a step of this one. Its input may be changed; this run stays as it is.",
            done="forked",
            do=_fork,
            permission=OPERATE,
            fits=lambda run: not is_job(run),
            form=_fork_form,
        ),
        Verb(
            name="cancel",
            title="Cancel",
            text="What waits ends at once, what is performed at its next checkpoint. Its child runs are cancelled too. "
            "This cannot be undone; a fork can go on from what is recorded.",
            done="cancelled",
            do=lambda run, by, given: runs.cancel(run.id, **reasoned(by, given)),
            permission=OPERATE,
            fits=lambda run: run.state not in ENDED,
            is_grave=True,
        ),
        Verb(
            name="approve",
            title="Approve",
            text="The run goes on.",
            done="approved",
            do=lambda run, by, given: runs.approve(run.id, given["gate"] or None, **reasoned(by, given)),
            permission=OPERATE,
            fits=lambda run: run.state not in ENDED,
            form=_gate_form,
            about=_gate_about,
            is_general=False,
        ),
        Verb(
            name="refuse",
            title="Refuse",
            text="The gate fails, and the run goes on as its workflow says.",
            done="refused",
            do=lambda run, by, given: runs.refuse(run.id, given["gate"] or None, **reasoned(by, given)),
            permission=OPERATE,
            fits=lambda run: run.state not in ENDED,
            form=_gate_form,
            about=_gate_about,
            is_general=False,
            is_grave=True,
        ),
        Verb(
            name="answer",
            title="Answer",
            text="The signal is sent to the run. One that nothing waits for yet is kept.",
            done="sent a signal",
            do=_answer,
            permission=OPERATE,
            fits=lambda run: run.state not in ENDED,
            form=_answer_form,
            is_general=False,
        ),
        Verb(
            name="decide",
            title="Decide",
            text="Nobody knows whether this was done: the process died between the call and its receipt. "
            "Look at the other side, then say what became of it.",
            done="decided",
            do=_decide,
            permission=OPERATE,
            fits=lambda run: run.state not in ENDED,
            form=_decide_form,
            about=_decide_about,
            is_general=False,
        ),
    )
}
