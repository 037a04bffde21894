"""What a person can do with a version of a workflow: start a run of it, with a field for each of its inputs."""

from __future__ import annotations

from django import forms
from django.http import QueryDict

from execution import runs
from execution.models import Run, Workflow
from execution.room import inputs
from execution.room.doing import About, Form, Given, Verb, form_of
from execution.room.runverbs import OPERATE
from execution.workflows import catalog


def _form(workflow: Workflow, _: QueryDict) -> Form:
    agent = forms.CharField(label="Agent", required=False, help_text="On whose behalf; the usual one unless given.")
    tags = forms.CharField(label="Tags", required=False, help_text="Separated by commas.")
    money = forms.DecimalField(
        label="Budget in money",
        required=False,
        min_value=0,
        max_digits=20,
        decimal_places=6,
        help_text="What it may spend; the workflow's own budget unless given.",
    )
    return form_of(
        "StartForm",
        {**inputs.fields(inputs.wanted_by(catalog.of(workflow))), "agent": agent, "budget": money, "tags": tags},
    )


def _start(workflow: Workflow, by: str, given: Given) -> Run:
    run = runs.start(
        catalog.of(workflow),
        inputs.given(given),
        agent=given["agent"] or None,
        tags=[tag.strip() for tag in given["tags"].split(",") if tag.strip()],
        budget={"cost": given["budget"]} if given["budget"] is not None else None,
    )
    runs.note("run.started_by_hand", run, {"by": by, "reason": given["reason"]})
    return run


def _about(workflow: Workflow, _: QueryDict) -> About:
    text = catalog.of(workflow).definition.description
    return [("What it is for", text)] if text else []


VERBS = {
    "start": Verb(
        name="start",
        title="Start a run",
        text="A run of this version is opened, and performed as soon as a worker is free.",
        done="started",
        do=_start,
        fits=lambda _: True,
        permission=OPERATE,
        form=_form,
        about=_about,
    ),
}
