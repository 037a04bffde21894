"""Workflows over real workers: side by side, through a kill -9, and the shipped ones on this project itself."""

import shutil
from collections import Counter
from pathlib import Path

import pytest

from execution import runs, workflows
from execution.models import Attempt, Run, Step
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.conftest import REPOSITORY

SKILLS = "tests.workflow_skills"


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


MANY = """
name: many
inputs: {place: {type: text}, count: {type: integer}}
steps:
  numbers: {skill: graphs.range, with: {count: "${inputs.count}"}}
  work:
    skill: graphs.note
    foreach: ${steps.numbers}
    max_parallel: 6
    with: {place: "${inputs.place}", value: "${item}", pause: 0.05}
  total: {skill: graphs.total, with: {values: "${steps.work}"}}
outputs: {total: "${steps.total}"}
"""


def test_graph_survives_the_death_of_its_workers(grown_server, workers, eventually, tmp_path):
    """Two of three workers are killed in mid-list: every entry ends once, and the run with the right sum."""
    crew = [workers(skills=SKILLS, concurrency=2) for _ in range(3)]
    place = tmp_path / "notes"
    run = runs.start(workflows.read(MANY), {"place": str(place), "count": 60})
    for victim in crew[:2]:
        before = Step.objects.filter(run_id=run.id, state="completed").count()
        eventually(lambda: Step.objects.filter(run_id=run.id, state="completed").count() > before + 8)  # noqa: B023
        victim.kill()
    assert run.wait(timeout=60) == {"total": sum(range(60))}
    assert set(Step.objects.filter(run_id=run.id).values_list("state", flat=True)) == {"completed"}
    endings = Counter(Attempt.objects.filter(run_id=run.id).values_list("ending", flat=True))
    assert endings["completed"] == Step.objects.filter(run_id=run.id).count()
    assert set(endings) <= {"completed", "suspended", "lost", "crashed"}
    assert len(place.read_text().splitlines()) <= 60 + endings["lost"] + endings["crashed"]


def test_chain_goes_on_in_the_same_process(workers):
    """A chain is performed by one process, without a message for each link."""
    workers(skills=SKILLS, concurrency=2)
    links = {
        f"s{n}": {"skill": "graphs.add", "with": {"left": f"${{steps.s{n - 1}}}", "right": 1}} for n in range(1, 10)
    }
    steps = {"s0": {"skill": "graphs.give", "with": {"value": 1}}, **links}
    run = runs.start(workflows.Definition.model_validate({"name": "ten", "steps": steps}))
    assert run.wait(timeout=30) == 10
    assert Attempt.objects.filter(run_id=run.id).values("pid").distinct().count() == 1


def test_sub_workflow_and_gate_with_real_workers(workers, eventually):
    """A parent waits for its child's gate without holding a worker; a person lets both go on."""
    workers(skills=SKILLS, concurrency=1)
    inner = "name: inner\nsteps: {ask: {gate: approval}, then: {skill: graphs.give, needs: ask, with: {value: 5}}}"
    catalog.register(workflows.read(inner))
    outer = "name: outer\nsteps: {a: {workflow: inner}, b: {skill: graphs.add, with: {left: '${steps.a}'}}}"
    run = runs.start(workflows.read(outer))
    eventually(lambda: Step.objects.filter(name="ask", state="waiting").exists())
    runs.approve(Run.objects.get(parent_run_id=run.id), by="ann")
    assert run.wait(timeout=30) == 5


@pytest.fixture
def tree(tmp_path):
    """Return a copy of a part of this project."""
    copy = tmp_path / "project"
    shutil.copytree(
        REPOSITORY / "execution" / "workflows", copy / "workflows", ignore=shutil.ignore_patterns("__pycache__")
    )
    return copy


@pytest.mark.slow
def test_shipped_workflows_run_on_this_project(workers, eventually, tmp_path, tree):
    """Each shipped workflow does its work on this project's own files, through the ledger and a real worker."""
    workers(skills=SKILLS, concurrency=2)
    store = str(tmp_path / "store")
    harvested = runs.start(
        "harvest-deploy",
        {
            "documents": ["workflows.md"],
            "root": str(REPOSITORY / "docs"),
            "store": store,
            "target": str(tmp_path / "out"),
            "dry_run": True,
        },
    )
    inspected = runs.start("inspect", {"root": str(tree)})
    wired = runs.start("confirm-wiring", {"root": str(REPOSITORY), "component": "execution.doorbell"})
    audited = runs.start("component-audit", {"root": str(REPOSITORY), "path": "execution/sql"})
    changed = runs.start(
        "governed-change",
        {"root": str(tree), "name": "workflows.graph.followers", "new_name": "successors", "store": store},
    )
    authored = runs.start("workflow-authoring", {"name": "nightly-check", "folder": str(tmp_path / "flows")})
    for run in (changed, authored):
        eventually(lambda: _waits_or_ended(run), timeout=240)  # noqa: B023
        runs.approve(run, by="ann")
    assert changed.wait(timeout=60)["ok"] is True
    assert "def successors(" in (tree / "workflows" / "graph.py").read_text()
    assert Path(authored.wait(timeout=60)["files"][0]).exists()
    for run in (harvested, inspected, wired, audited):
        run.wait(timeout=240)


def _waits_or_ended(run):
    """Tell whether a run waits for a person; one that has failed says why."""
    found = Run.objects.get(pk=run.id)
    assert found.state != "failed", found.error
    return Step.objects.filter(run_id=run.id, waiting="signal").exists()
