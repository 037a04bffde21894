"""Things that wait for a person, one of each kind: performed here, parked as a worker parks them."""

import itertools

from django.db import transaction
from django.utils import timezone

from execution import ids, records, runs, workflows
from execution.models import Agent, Level, Run, Step
from execution.workflows import catalog
from graduation.models import Offer, Recommendation
from recovery import dead_letters, evaluator
from recovery.models import DeadLetter, Handling, HandlingState
from tests import command_skills
from tests.hands import graph
from tests.recovery import failed

_numbers = itertools.count()
GATE = "name: release\nsteps:\n  sign_off: {gate: approval, with: {notes: ready}}\n"


def approval(hands, *, count=1):
    """Let runs reach a gate; returns the gates' steps."""
    catalog.register(workflows.read(GATE))
    found = [runs.start("release", {}) for _ in range(count)]
    steps = [Step.objects.get(run_id=run.id) for run in found]
    return [hands.perform(step) for step in steps]


def question(hands):
    """Let a skill wait for a signal."""
    return hands.perform(command_skills.ask.start())


def budget(hands):
    """Let a run park that has spent its budget."""
    return hands.perform(command_skills.costly.start(pieces=3, budget={"cost": "1.50"}))


def effect(hands):
    """Let a run park that does not know whether its effect was done."""
    return hands.perform(command_skills.publish.start())


def scout(level=Level.ADVISOR, name="scout"):
    """Return an agent that may do little."""
    return Agent.objects.get_or_create(name=name, defaults={"level": level})[0]


def autonomy(hands):
    """Let a step park that is above its agent's level."""
    run = command_skills.guarded.start(agent=scout())
    hands.claim(run)
    return Step.objects.get(pk=run.id)


def version():
    """Have a step that met another version of its skill."""
    run = command_skills.ask.start()
    error = {"kind": "parked", "message": "it began under version 1, and this is version 2"}
    Step.objects.filter(pk=run.id).update(
        state="parked", waiting="version", error=error, rung_at=None, changed_at=timezone.now()
    )
    Run.objects.filter(pk=run.id).update(state="parked", waiting="version")
    return Step.objects.get(pk=run.id)


def candidates(count=1, **more):
    """Have candidates that were evaluated and wait for a person."""
    found = failed.opened(count, **more)
    evaluator.evaluate_ids([one.id for one in found], source="claim", by="tests")
    for one in found:
        one.refresh_from_db()
    return found


def handler():
    """Have a handler that asks."""
    return Handling.objects.create(
        handler="mail.welcome", event_id=ids.new(), kind="run.completed", event={"at": timezone.now().isoformat()},
        state=HandlingState.WAITING, question="Which list does this customer belong to?",
    )  # fmt: skip


def letter():
    """Have a message that was given up."""
    original = f"0-{next(_numbers)}"
    dead_letters.keep(queue="stream:candidates", original_id=original, body={"candidate": "?"}, reason="no", tries=3)
    return DeadLetter.objects.get(original_id=original)


def offer():
    """Have an agent that may rise by one level."""
    agent = scout(name="hero")
    return Offer.objects.create(agent=agent, level_before=1, level_after=2, offered_by="ladder")


def recommendation():
    """Have a recommendation that somebody does by hand."""
    with transaction.atomic():
        made = records.assess("retrospective", subject="service:shop", producer="tests", data={})
        row = Recommendation.objects.create(
            retrospective_id=made.id, key=f"gate-{next(_numbers)}", kind="add_gate", text="Ask the gate before shop.",
            change={"gate": "shop"}, evidence={"incidents": 2},
        )  # fmt: skip
        records.hold(made, f"recommendation:{row.pk}")
    return row


def everything(hands):
    """Have one of each kind, the oldest first; returns kind and row."""
    return [
        ("approval", approval(hands)[0]),
        ("question", question(hands)),
        ("budget", budget(hands)),
        ("effect", effect(hands).effects.get()),
        ("autonomy", autonomy(hands)),
        ("version", version()),
        ("candidate", candidates()[0]),
        ("handler", handler()),
        ("letter", letter()),
        ("promotion", offer()),
        ("recommendation", recommendation()),
    ]


def graph_of_two():
    """Have a run of two steps, both parked above their agent's level."""
    agent = scout()
    run, steps = graph([[], []], run={"agent_id": agent.id}, step={"level": 4})
    Step.objects.filter(run_id=run.id).update(state="parked", waiting="autonomy")
    Run.objects.filter(pk=run.id).update(state="parked", waiting="autonomy")
    return run, steps
