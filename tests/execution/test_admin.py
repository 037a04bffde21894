"""The admin's pages: read-only, useful, bounded; what a person may change asks for a reason and is audited."""

import re
from datetime import timedelta
from decimal import Decimal

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.urls import reverse
from django.utils import timezone

from execution import (
    agents,
    ids,
    jobs,
    ledger,
    memory,
    memory_rules,
    records,
    runs,
    sessions,
    tunables,
    values,
    workflows,
)
from execution.admin import lists, shown
from execution.ledger import Record
from execution.models import (
    Agent,
    Attempt,
    Blob,
    Breaker,
    CapabilityLockout,
    Checkpoint,
    Chord,
    ChordPart,
    ConcurrencyKey,
    CycleState,
    Effect,
    Errand,
    Event,
    EventReader,
    JobItem,
    Level,
    Lineage,
    MemoryUpdate,
    Need,
    ObservedCall,
    Phase,
    Provenance,
    Run,
    RunState,
    Service,
    ServiceDependency,
    Signal,
    Step,
    Timer,
    Tunable,
    Worker,
)
from execution.workflows import catalog
from tests.execution import seen

pytestmark = pytest.mark.django_db(transaction=True)

# What a list asks, whatever it holds: session, user, badge, plan, count, rows; and its filters' choices.
QUERIES = {
    "agent": 9,
    "assessment": 6,
    "attempt": 6,
    "blob": 6,
    "breaker": 6,
    "capabilitylockout": 6,
    "chord": 6,
    "chordpart": 6,
    "concurrencykey": 6,
    "cyclestate": 6,
    "effect": 6,
    "errand": 6,
    "event": 6,
    "eventreader": 6,
    "job": 6,
    "joblane": 6,
    "phase": 6,
    "lineage": 6,
    "memory": 7,
    "memoryrule": 6,
    "memoryupdate": 6,
    "need": 6,
    "provenance": 6,
    "run": 8,
    "session": 6,
    "sessioncheckpoint": 6,
    "observedcall": 6,
    "recordhold": 6,
    "recordparent": 6,
    "service": 6,
    "servicedependency": 6,
    "signal": 6,
    "step": 7,
    "timer": 6,
    "tunable": 6,
    "verdict": 6,
    "worker": 8,
    "workflow": 6,
}


@pytest.fixture
def operator(client):
    """A client that is logged in as a superuser."""
    user = User.objects.create_superuser("operator")
    client.force_login(user)
    return client


@pytest.fixture
def viewer(client):
    """A client that may look at runs, and nothing else."""
    user = User.objects.create_user("viewer", is_staff=True)
    user.user_permissions.add(Permission.objects.get(codename="view_run"))
    client.force_login(user)
    return client


def listed(name):
    """Return the address of a model's list."""
    return reverse(f"admin:execution_{name}_changelist")


def page(row):
    """Return the address of a row's page."""
    return reverse(f"admin:execution_{row._meta.model_name}_change", args=[row.pk])


def words_of(answer):
    """Return a page's text without its tags."""
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def saved(token, **fields):
    """Return a record of a result."""
    return Record(token=token, kind="once", **fields)


def fill(count):
    """Make so many rows of every model."""
    for _ in range(count):
        mark = str(ids.new())
        run = runs.start(seen.quick, {"number": 1}, tags=["blue"], key=mark)
        claim = ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=1)
        ledger.record(run.id, claim.epoch, [saved("a", position=1, packed=values.pack(1, place=""))])
        other = runs.start(seen.wait)
        runs.signal(other, "early", {"a": 1})
        agent = Agent.objects.create(name=mark)
        CapabilityLockout.objects.create(capability=mark, agent=agent)
        Blob.objects.create(hash=ids.new().bytes, data=b"z", size=1)
        Breaker.objects.create(name=mark)
        Chord.objects.create(group_id=mark, size=2)
        ChordPart.objects.create(group_id=mark, task_id=mark, index=0, is_success=True)
        ConcurrencyKey.objects.create(name=mark, limit_count=3)
        CycleState.objects.create(name=mark, ticked_at=timezone.now())
        Effect.objects.create(step_id=run.id, token=mark, key=mark, policy="ask", epoch=1)
        Errand.objects.create(kind="child", payload={"run": mark})
        EventReader.objects.create(name=mark)
        Phase.objects.create(run=run, name=mark)
        catalog.register(workflows.read(f"name: w{run.id.hex}\nsteps: {{a: {{skill: seen.quick}}}}"))
        jobs.spawn(seen.quick, [{"number": 1}], parallel=1)
        Lineage.objects.create(step_id=run.id, parent_id=other.id, relation="call")
        memory.remember(agent, mark, key=mark)
        MemoryUpdate.objects.create(rule=memory_rules.set_rule(mark, key="k"), run_id=run.id, outcome="applied")
        Provenance.objects.create(
            step_id=run.id,
            run_id=run.id,
            agent_id=agent.id,
            state="completed",
            attempt_count=1,
            cost=0,
            tokens=0,
            models_used=[],
            ended_at=timezone.now(),
            output_hash=b"h",
        )
        sessions.close(sessions.open(f"chat {mark}", state={"a": 1}))
        Need.objects.create(step_id=run.id, needed_id=other.id)
        Timer.objects.create(kind="sleep", due_at=timezone.now() + timedelta(hours=1), step_id=run.id, run_id=run.id)
        Tunable.objects.create(name="jobs.chunk", subject=mark, value=1)
        fact = records.assess("slo_status", subject="service:a", producer="tests")
        records.judge("check", subject="agent:a", action="flag", producer="tests", parents=[fact], run=run, agent=agent)
        records.hold(fact, mark)
        needed, service = Service.objects.create(name=f"{mark}-a"), Service.objects.create(name=mark)
        ServiceDependency.objects.create(service=service, needed=needed, wants=["ordered"])
        seen_at = timezone.now()
        ObservedCall.objects.create(
            caller=f"skill:{mark}", callee="skill:a", call_count=1, first_seen_at=seen_at, last_seen_at=seen_at
        )
        Worker.objects.create(hostname=mark, pid=1, lock_number=1, queues=["default"])


def test_every_model_has_a_page():
    """All models of the ledger are there, but for two whose key has two columns: they have a list by step, or by job."""
    known = {model for model in apps.get_app_config("execution").get_models() if admin.site.is_registered(model)}
    assert set(apps.get_app_config("execution").get_models()) - known == {Checkpoint, JobItem}
    assert {model._meta.model_name for model in known} == set(QUERIES)


def test_lists_ask_a_fixed_number_of_queries(operator, django_assert_num_queries):
    """A list asks as much for three rows as for six, and counts no table twice."""
    for _ in range(2):
        fill(3)
        for name, count in QUERIES.items():
            with django_assert_num_queries(count, info=name):
                answer = operator.get(listed(name))
            assert answer.status_code == 200


def test_every_page_opens(operator):
    """Each row has a page, read-only where nothing may be changed, and each filter and search answers."""
    fill(1)
    for name in QUERIES:
        model = apps.get_model("execution", name)
        if model is not Blob:
            assert operator.get(page(model.objects.first())).status_code == 200, name
        for query in ("q=nothing", f"q={ids.new()}", "q=%00", "q=%27%3B--"):
            assert operator.get(f"{listed(name)}?{query}").status_code == 200, (name, query)
        for spec in admin.site.get_model_admin(model).list_filter:
            if isinstance(spec, type):
                for value, _ in spec(
                    operator.get(listed(name)).wsgi_request, {}, model, admin.site._registry[model]
                ).lookup_choices:
                    address = f"{listed(name)}?{spec.parameter_name}={value}"
                    assert operator.get(address).status_code == 200, address


def test_lists_are_read_only(operator):
    """What the ledger alone may write offers no addition, change or deletion."""
    editable = {"agent", "capabilitylockout", "breaker", "concurrencykey", "service", "tunable"}
    request = operator.get(listed("run")).wsgi_request
    for name in QUERIES:
        found = admin.site.get_model_admin(apps.get_model("execution", name))
        may = (
            found.has_add_permission(request),
            found.has_change_permission(request),
            found.has_delete_permission(request),
        )
        if name not in editable:
            assert may == (False, False, False), name
    fill(1)
    run = Run.objects.first()
    assert operator.post(page(run), {"workflow": "other"}).status_code == 403


@pytest.mark.parametrize("by", ["id", "key", "workflow", "tag", "correlation"])
def test_search_for_a_run(operator, by):
    """A run is found by its id, key, workflow, tag and correlation id."""
    run = runs.start(seen.quick, key="the-key", tags=["blue", "night"], correlation_id="order-7")
    runs.start(seen.wait)
    term = {"id": run.id, "key": "the-key", "workflow": "seen.quick", "tag": "night", "correlation": "order-7"}[by]
    found = operator.get(f"{listed('run')}?q={term}").context["cl"].result_list
    assert [row.id for row in found] == [run.id]


def test_words_are_looked_for_among_the_newest(operator, monkeypatch):
    """A search that no index serves stops at the newest rows; an id is found whatever its age."""
    monkeypatch.setattr(lists, "NEWEST", 2)
    found = [runs.start(seen.quick) for _ in range(3)]
    shown_rows = operator.get(f"{listed('run')}?q=seen.quick").context["cl"].result_list
    assert {row.id for row in shown_rows} == {run.id for run in found[1:]}
    assert len(operator.get(f"{listed('run')}?q={found[0].id}").context["cl"].result_list) == 1


def test_dear_count_is_estimated(operator, monkeypatch):
    """Where a count would be dear, the list says about how many there are, and counts nothing."""
    for _ in range(5):
        runs.start(seen.quick)
    monkeypatch.setattr(lists, "DEAR", 0.0)
    with connection.execute_wrapper(_refuse_counts):
        answer = operator.get(listed("run"))
    assert len(answer.context["cl"].result_list) == 5


def _refuse_counts(execute, sql, params, many, context):
    assert "COUNT(*)" not in sql, sql
    return execute(sql, params, many, context)


def test_page_of_a_run(operator):
    """A run's page says in words what it waits for, and shows its steps, attempts, checkpoints, signals and events."""
    run = runs.start(seen.wait, tags=["blue"], budget={"cost": "5.00"})
    claim = ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=77)
    ledger.record(
        run.id,
        claim.epoch,
        [saved("note", position=1, packed=values.pack("x" * 900, place=""))],
    )
    ledger.finish(claim, "suspended", details={"waiting": "signal", "awaits": ["answer"]})
    runs.signal(run, "early", 1)
    text = words_of(operator.get(page(run)))
    for part in (str(run.id), "seen.wait", "blue", "0.00 of 5.00", "answer", "suspended", "step.suspended", "902 B"):
        assert part in text, part
    assert "What it waits for" in text
    assert "early" in text


def test_page_of_a_run_is_bounded(operator, django_assert_num_queries):
    """A run of many attempts and events is shown by its newest ones, with a fixed number of queries."""
    run = runs.start(seen.wait)
    Attempt.objects.bulk_create(
        Attempt(step_id=run.id, run_id=run.id, epoch=100 + number, worker_id=ids.new(), ending="suspended")
        for number in range(120)
    )
    with django_assert_num_queries(21):
        answer = operator.get(page(run))
    assert answer.context["timeline"].rows[0].track.count('class="bar') == 30


def test_page_of_a_large_input(operator):
    """Of a large value the beginning is shown; one that is too large to unpack is named by its size."""
    run = runs.start(seen.wait, {"name": "y" * 20_000})
    content = operator.get(page(run)).content.decode()
    assert "characters more" in content
    assert content.count("y") < 5_500
    huge = runs.start(seen.wait, {"name": "z" * (shown.UNPACKED_MOST + 10)})
    assert "too large to be shown here" in operator.get(page(huge)).content.decode()


def test_value_whose_blob_is_missing(operator):
    """A value that cannot be found is said to be missing, and the page opens."""
    run = runs.start(seen.wait)
    Run.objects.filter(pk=run.pk).update(input=b"b" + bytes(32))
    assert "its blob is missing" in operator.get(page(run)).content.decode()


def test_checkpoints_of_a_step(operator):
    """Checkpoints are listed a page at a time; a value is unpacked when it is asked for, odd characters and all."""
    run = runs.start(seen.wait)
    claim = ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=1)
    names = [f"token {number:03} <&>" for number in range(60)]
    ledger.record(
        run.id,
        claim.epoch,
        [saved(name, position=n, packed=values.pack({"n": n}, place="")) for n, name in enumerate(names)],
    )
    address = reverse("admin:execution_step_checkpoints", args=[run.id])
    first = operator.get(address)
    assert len(first.context["rows"]) == 50
    assert len(operator.get(address, {"after": first.context["after"]}).context["rows"]) == 10
    assert "&quot;n&quot;: 7" in operator.get(address, {"token": names[7]}).content.decode()
    assert "There is no such checkpoint" in operator.get(address, {"token": "none"}).content.decode()
    assert operator.get(reverse("admin:execution_step_checkpoints", args=[ids.new()])).status_code == 404


def test_checkpoints_want_a_permission(viewer):
    """Who may look at runs only does not see what steps have saved."""
    run = runs.start(seen.wait)
    assert viewer.get(reverse("admin:execution_step_checkpoints", args=[run.id])).status_code == 403


def act(client, name, verb, rows, **more):
    """Call an action of a list."""
    data = {"action": verb, "_selected_action": [str(row.pk) for row in rows], "index": 0, **more}
    return client.post(listed(name), data, follow=True)


def test_action_asks_for_a_reason(operator):
    """Without a reason nothing is done, and the page names what was chosen."""
    run = runs.start(seen.wait)
    asked = act(operator, "run", "pause", [run])
    assert str(run.id) in words_of(asked)
    assert act(operator, "run", "pause", [run], reason="  ").context["form"].errors
    assert runs.get(run.id).state == RunState.PENDING


def test_action_is_done_and_audited(operator):
    """Done and skipped are reported; the history and the log keep who and why."""
    run, ended = runs.start(seen.wait), runs.start(seen.wait)
    runs.cancel(ended)
    text = words_of(act(operator, "run", "pause", [run, ended], reason="too dear"))
    assert "1 run paused" in text
    assert "1 run skipped" in text
    assert str(ended.id) in text
    assert runs.get(run.id).state == RunState.PAUSED
    entry = LogEntry.objects.get(object_id=str(run.id))
    assert (entry.user.username, entry.change_message) == ("operator", "Paused: too dear")
    event = Event.objects.get(run_id=run.id, kind="run.paused")
    assert event.data == {"by": "operator", "reason": "too dear"}


@pytest.mark.parametrize(("verb", "before", "after"), [("resume", "pause", "pending"), ("cancel", None, "cancelled")])
def test_actions_by_verb(operator, verb, before, after):
    """Each verb does what it says."""
    run = runs.start(seen.wait)
    if before:
        getattr(runs, before)(run)
    act(operator, "run", verb, [run], reason="because")
    assert runs.get(run.id).state == after


def test_retry_of_a_failed_run(operator):
    """A failed run goes on."""
    run = runs.start(seen.fail)
    claim = ledger.claim(run.id, ids.new(), worker_id=ids.new(), pid=1)
    ledger.finish(claim, "failed", details={"error": {"kind": "permanent", "message": "no"}})
    assert "Retry" in words_of(operator.get(page(run)))
    act(operator, "run", "retry", [run], reason="mended")
    assert runs.get(run.id).state == RunState.RUNNING


def test_action_wants_a_permission(viewer):
    """Who may only look is offered no verb, and can call none."""
    run = runs.start(seen.wait)
    answer = viewer.get(page(run))
    assert answer.status_code == 200
    assert "Pause" not in words_of(answer)
    act(viewer, "run", "pause", [run], reason="mine")
    assert runs.get(run.id).state == RunState.PENDING
    assert not LogEntry.objects.exists()


def test_operator_without_superpowers(viewer):
    """The permission operate_run is enough."""
    User.objects.get(username="viewer").user_permissions.add(Permission.objects.get(codename="operate_run"))
    run = runs.start(seen.wait)
    act(viewer, "run", "pause", [run], reason="asked to")
    assert runs.get(run.id).state == RunState.PAUSED


def change(client, row, **fields):
    """Post a row's form."""
    return client.post(page(row), fields, follow=True)


def test_change_of_an_agent(operator):
    """A level and a budget are changed through the ledger's verbs, with a reason that the history keeps."""
    agent = Agent.objects.create(name="scout")
    form = {"description": "", "level": "1", "budget_cost": "10.5", "budget_tokens": ""}
    refused = change(operator, agent, **form)
    assert refused.context["adminform"].form.errors == {"reason": ["Say why its level or its budget is changed."]}
    change(operator, agent, **form, reason="it erred")
    agent.refresh_from_db()
    assert (agent.level, agent.budget_cost) == (Level.ADVISOR, Decimal("10.5"))
    said = LogEntry.objects.get().change_message
    assert "level: fully_autonomous → advisor" in said
    assert "budget_cost: no limit → 10.5" in said
    assert "it erred" in said


def test_rise_of_an_agent(operator):
    """Who edits raises by one level, in their own name; more wants two, and an account without the permission none."""
    agent = Agent.objects.create(name="scout", level=Level.ADVISOR)
    form = {"description": "", "level": "3", "budget_cost": "", "budget_tokens": "", "reason": "it does well"}
    assert "wants two persons" in str(change(operator, agent, **form).context["adminform"].form.errors["level"])
    change(operator, agent, **form | {"level": "2"})
    agent.refresh_from_db()
    assert agent.level == Level.LIMITED_AUTONOMOUS
    assert Event.objects.get(kind="agent.level_changed").data["by"] == "operator"
    clerk = User.objects.create_user("clerk", is_staff=True)
    clerk.user_permissions.add(*Permission.objects.filter(codename__in=["view_agent", "change_agent"]))
    operator.force_login(clerk)
    assert "execution.raise_agent" in str(change(operator, agent, **form).context["adminform"].form.errors["level"])
    agent.refresh_from_db()
    assert agent.level == Level.LIMITED_AUTONOMOUS


def test_change_of_an_agent_keeps_what_is_spent(operator):
    """A form that was opened before money was spent does not write the old figure back."""
    agent = Agent.objects.create(name="scout", spent_cost=1)
    Agent.objects.filter(pk=agent.pk).update(spent_cost=5)
    change(operator, agent, description="new", level="4", budget_cost="", budget_tokens="")
    agent.refresh_from_db()
    assert (agent.description, agent.spent_cost) == ("new", 5)


@pytest.mark.parametrize("name", ["agent", "capabilitylockout", "concurrencykey", "service", "tunable"])
def test_form_for_a_new_row(operator, name):
    """A new row's form shows nothing that is not there yet."""
    content = operator.get(reverse(f"admin:execution_{name}_add")).content.decode()
    assert "object at 0x" not in content
    assert "DatabaseDefault" not in content


def test_new_agent(operator):
    """An agent can be made here."""
    form = {"name": "scout", "description": "", "level": "2", "budget_cost": "", "budget_tokens": ""}
    operator.post(reverse("admin:execution_agent_add"), form)
    assert agents.id_of("scout") == Agent.objects.get(name="scout").id


def test_lockout_is_added_and_lifted(operator):
    """A lockout is made through the ledger's verb, and lifted with a reason; it is never edited."""
    agent = Agent.objects.create(name="scout")
    form = {"capability": "web", "agent": str(agent.pk), "reason": "it erred", "until_0": "", "until_1": ""}
    operator.post(reverse("admin:execution_capabilitylockout_add"), form)
    lockout = CapabilityLockout.objects.get(capability="web")
    assert (lockout.agent, lockout.lifted_at) == (agent, None)
    assert operator.post(page(lockout), {"capability": "other"}).status_code == 403
    assert "1 lockout lifted" in words_of(act(operator, "capabilitylockout", "lift", [lockout], reason="mended"))
    assert "1 lockout skipped" in words_of(act(operator, "capabilitylockout", "lift", [lockout], reason="again"))
    lockout.refresh_from_db()
    assert lockout.lifted_at is not None


def test_breaker_is_reset(operator):
    """A breaker is closed with a reason, through the ledger's verb; its threshold may be changed."""
    breaker = Breaker.objects.create(name="web", state="open", failure_count=7)
    change(operator, breaker, threshold="9", cooldown_seconds="30")
    act(operator, "breaker", "close", [breaker], reason="mended")
    breaker.refresh_from_db()
    assert (breaker.state, breaker.failure_count, breaker.threshold) == ("closed", 0, 9)
    assert Event.objects.get(kind="breaker.closed").data["reason"] == "mended"


def test_key_is_changed(operator):
    """A key's limit is changed, and the tokens that claims count are left alone."""
    key = ConcurrencyKey.objects.create(name="api", limit_count=1, rate_count=5, token_count=5)
    ConcurrencyKey.objects.filter(pk="api").update(token_count=2)
    change(operator, key, limit_count="4", rate_count="5", rate_seconds="1.0")
    key.refresh_from_db()
    assert (key.limit_count, key.token_count) == (4, 2)
    assert LogEntry.objects.get().object_id == "api"


def test_tunable_is_set_and_reset(operator):
    """A tunable is set and reset through its verbs, within its bounds; its history says what it was."""
    form = {"name": "retries.base", "subject": "", "value": "9000", "reason": "a slow day"}
    refused = operator.post(reverse("admin:execution_tunable_add"), form)
    assert "between 0.01 and 3,600 seconds" in words_of(refused)
    operator.post(reverse("admin:execution_tunable_add"), form | {"value": "4"})
    tunable = Tunable.objects.get()
    change(operator, tunable, value="2.5", reason="a slower day")
    assert (tunables.value("retries.base"), Tunable.objects.get().set_by) == (2.5, "operator")
    assert LogEntry.objects.first().change_message == "value: 4.0 → 2.5. Reason: a slower day"
    operator.post(reverse("admin:execution_tunable_delete", args=[tunable.pk]), {"post": "yes"})
    assert tunables.value("retries.base") == 1
    kinds = Event.objects.filter(kind__startswith="tunable.").order_by("id").values_list("kind", flat=True)
    assert list(kinds) == ["tunable.set", "tunable.set", "tunable.reset"]


def test_service_is_declared(operator):
    """A service is declared as by a file, with its dependencies; the same rules hold, and each change is an event."""
    Service.objects.create(name="ledger")
    rows = {"dependencies-TOTAL_FORMS": "1", "dependencies-INITIAL_FORMS": "0", "dependencies-0-needed": "ledger",
            "dependencies-0-wants": "ordered"}  # fmt: skip
    form = {"name": "payments", "tier": "critical", "owner": "money", "description": "", "contract": '{"avail": 1}',
            "guarantees": "idempotent", **rows}  # fmt: skip
    address = reverse("admin:execution_service_add")
    assert "avail" in str(operator.post(address, form).context["adminform"].form.errors)
    assert "name" in operator.post(address, form | {"name": "Pay Ments"}).context["adminform"].form.errors
    operator.post(address, form | {"contract": '{"availability": 0.9}'})
    made = Service.objects.get(pk="payments")
    assert (made.tier, made.contract, made.guarantees) == ("critical", {"availability": 0.9}, ["idempotent"])
    dependency = ServiceDependency.objects.get()
    assert (dependency.needed_id, dependency.wants) == ("ledger", ["ordered"])
    rows = {"dependencies-TOTAL_FORMS": "1", "dependencies-INITIAL_FORMS": "1", "dependencies-0-id": dependency.pk,
            "dependencies-0-service": "payments", "dependencies-0-needed": "ledger", "dependencies-0-wants": "",
            "dependencies-0-DELETE": "on"}  # fmt: skip
    change(operator, made, tier="low", owner="money", description="", contract="{}", guarantees="", **rows)
    made.refresh_from_db()
    assert (made.tier, made.contract, ServiceDependency.objects.count()) == ("low", {}, 0)
    told = Event.objects.filter(kind="service.declared").order_by("id").values_list("data", flat=True)
    assert [(one["is_new"], one["by"]) for one in told] == [(True, "operator"), (False, "operator")]
    assert LogEntry.objects.count() == 2


def test_more_than_an_action_takes(operator, monkeypatch):
    """Too many at once are refused before anything is done."""
    monkeypatch.setattr("execution.admin.reasons.MOST", 1)
    chosen = [runs.start(seen.wait), runs.start(seen.wait)]
    assert "At most 1 at once" in words_of(act(operator, "run", "cancel", chosen, reason="all"))
    assert not Run.objects.filter(state=RunState.CANCELLED).exists()


def test_page_of_nothing(operator):
    """An id that is not there, or is none, leads back to the list."""
    for wanted in (str(ids.new()), "nonsense"):
        answer = operator.get(reverse("admin:execution_run_change", args=[wanted]), follow=True)
        assert "exist" in words_of(answer)


def test_steps_signals_and_events_of_a_run(operator):
    """A run's id leads to its steps and events."""
    run = runs.start(seen.wait)
    runs.start(seen.wait)
    assert [row.id for row in operator.get(f"{listed('step')}?q={run.id}").context["cl"].result_list] == [run.id]
    assert {row.run_id for row in operator.get(f"{listed('event')}?q={run.id}").context["cl"].result_list} == {run.id}
    assert Step.objects.count() == 2
    assert not Signal.objects.exists()
