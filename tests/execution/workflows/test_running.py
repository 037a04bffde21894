"""Graphs of steps as they run: order, input from results, conditions, lists, gates, failures and what goes on after them."""

from datetime import timedelta

import pytest

from execution import errands, ledger, runs, values, why, workflows
from execution.exceptions import (
    GateRefused,
    InputInvalid,
    NotAllowed,
    NotPossible,
    OptionInvalid,
    RunFailed,
    RunUnknown,
    WorkflowUnplayable,
)
from execution.models import Checkpoint, Run, Step
from execution.workflows import catalog
from tests import workflow_skills as _skills  # noqa: F401 - registers them
from tests.hands import MARKS, finish, make_due

pytestmark = MARKS


@pytest.fixture(autouse=True)
def _forget():
    catalog.forget()


def read(text):
    """Return a definition."""
    return workflows.read(text)


def play(hands, run, *, most=1000):
    """Perform what is ready, the oldest first, until nothing is; return the run as it is then."""
    for _ in range(most):
        step = Step.objects.filter(run_id=run.id, state="ready").order_by("id").first()
        if step is None:
            break
        hands.perform(step)
    return Run.objects.get(pk=run.id)


def states(run):
    """Return the state of each step of the definition."""
    return {step.name: step.state for step in Step.objects.filter(run_id=run.id, position__gte=0)}


SUM = """
name: sum-up
inputs: {start: {type: integer}, more: {type: integer, default: 2}}
steps:
  first: {skill: graphs.add, with: {left: "${inputs.start}", right: "${inputs.more}"}}
  second: {skill: graphs.add, with: {left: "${steps.first}", right: 10}}
outputs:
  total: ${steps.second}
  text: "${steps.first} and ${steps.second}"
"""


class TestChain:
    def test_results_are_handed_on(self, hands):
        """Each step takes what the one before it returned; the outputs are what the run returns."""
        run = play(hands, runs.start(read(SUM), {"start": 1}))
        assert run.state == "completed"
        assert runs.result(run) == {"total": 13, "text": "3 and 13"}

    def test_step_that_needs_another_is_not_claimed_before(self, hands):
        """A blocked step says that it waits for what it needs."""
        run = runs.start(read(SUM), {"start": 1})
        second = Step.objects.get(run_id=run.id, name="second")
        assert (second.state, second.waiting, second.pending_count) == ("blocked", "needs", 1)
        assert hands.claim(second).verdict == "nothing"

    def test_input_is_checked_before_anything_opens(self):
        """All that is wrong with the inputs is said at once, and no run is there."""
        with pytest.raises(InputInvalid, match="'start' is missing"):
            runs.start(read(SUM), {"stat": 1})
        assert not Run.objects.exists()

    def test_unknown_skill_is_told_before_anything_opens(self):
        """A step that nobody here can perform refuses the whole run, and says which it is."""
        with pytest.raises(WorkflowUnplayable, match="step 'a' of workflow 'lost' cannot be performed here"):
            runs.start(read("name: lost\nsteps: {a: {skill: graphs.giv}}"))
        assert not Run.objects.exists()

    def test_one_last_step_is_the_result(self, hands):
        """Without outputs a run returns what its last step returned."""
        run = play(hands, runs.start(read("name: one\nsteps: {a: {skill: graphs.give, with: {value: [1]}}}")))
        assert runs.result(run) == [1]

    def test_several_last_steps_are_the_result_by_name(self, hands):
        """Without outputs, several last steps are returned by their names."""
        text = "name: two\nsteps: {a: {skill: graphs.give, with: {value: 1}}, b: {skill: graphs.give}}"
        assert runs.result(play(hands, runs.start(read(text)))) == {"a": 1, "b": None}

    def test_key_opens_one_run(self):
        """A second start under the same key returns the first run."""
        first = runs.start(read(SUM), {"start": 1}, key="k")
        again = runs.start(read(SUM), {"start": 1}, key="k")
        assert (again.id, first.created, again.created) == (first.id, True, False)
        assert Step.objects.count() == 3


class TestConditions:
    TEXT = """
name: maybe
inputs: {go: {type: boolean}}
steps:
  a: {skill: graphs.give, with: {value: 1}, when: "${inputs.go}"}
  b: {skill: graphs.give, with: {value: "${default(steps.a, 'none')}"}}
  c: {skill: graphs.give, with: {value: "${state(steps.a)}"}}
outputs: {b: "${steps.b}", c: "${steps.c}"}
"""

    @pytest.mark.parametrize(("go", "expected"), [(True, (1, "completed")), (False, ("none", "skipped"))])
    def test_skipped_step_lets_others_go_on(self, hands, go, expected):
        """A step whose condition is false is skipped; what needs it runs and can see that."""
        run = play(hands, runs.start(read(self.TEXT), {"go": go}))
        assert run.state == "completed"
        assert tuple(runs.result(run).values()) == expected

    def test_result_of_a_skipped_step_is_an_error_in_words(self, hands):
        """An expression that names what is not there fails its step, and says what to write."""
        text = self.TEXT.replace("default(steps.a, 'none')", "steps.a")
        run = play(hands, runs.start(read(text), {"go": False}))
        assert run.state == "failed"
        assert run.error["type"] == "ExpressionFailed"
        assert "step 'a' was skipped" in run.error["message"]

    def test_single_skipped_step_completes_the_run(self, hands):
        """A run whose only step is skipped has ended well, with nothing."""
        text = "name: only\ninputs: {go: {type: boolean}}\nsteps: {a: {skill: graphs.give, when: '${inputs.go}'}}"
        run = play(hands, runs.start(read(text), {"go": False}))
        assert (run.state, runs.result(run)) == ("completed", None)


class TestFailures:
    TEXT = """
name: risky
inputs: {fix: {type: text, default: ""}}
steps:
  a: {skill: graphs.fail, with: {value: 7, fix: "${inputs.fix}"}}
  b: {skill: graphs.give, needs: a, with: {value: "${default(steps.a, 0)}"}}
  c: {skill: graphs.give, with: {value: 3}}
outputs: {b: "${steps.b}", a: "${state(steps.a)}"}
"""

    def test_failed_step_halts_the_run_and_retry_goes_on_from_it(self, hands, tmp_path):
        """What had ended stays as it is; a retry performs the failed step and what follows."""
        fix = tmp_path / "fix"
        run = runs.start(read(self.TEXT), {"fix": str(fix)})
        assert play(hands, run).state == "failed"
        assert states(run) == {"a": "failed", "b": "blocked", "c": "waiting", "(outputs)": "blocked"}
        fix.touch()
        runs.retry(run)
        assert play(hands, run).state == "completed"
        assert runs.result(run) == {"b": 7, "a": "completed"}

    def test_continue_goes_on_without_it(self, hands):
        """With `continue` the run ends well, and what needs the step sees that it failed."""
        text = self.TEXT.replace('fix: "${inputs.fix}"}', "}, on_failure: continue").replace("value: 7, }", "value: 7}")
        run = play(hands, runs.start(read(text)))
        assert (run.state, runs.result(run)) == ("completed", {"b": 0, "a": "failed"})

    def test_fallback_takes_what_the_step_was_given(self, hands):
        """A fallback is performed with the step's input, and its result counts as the step's."""
        text = """
name: saved
steps:
  one: {skill: graphs.give, with: {value: 5}}
  a: {skill: graphs.fail, with: {value: "${steps.one}"}, on_failure: {fallback: graphs.give}}
"""
        assert runs.result(play(hands, runs.start(read(text)))) == 5

    def test_retry_leaves_failures_alone_that_were_passed_over(self, hands, tmp_path):
        """A step that failed and was continued is not done again when another one is."""
        fix = tmp_path / "fix"
        text = """
name: mixed
inputs: {fix: {type: text}}
steps:
  soft: {skill: graphs.fail, on_failure: continue}
  hard: {skill: graphs.fail, needs: soft, with: {fix: "${inputs.fix}"}}
"""
        run = runs.start(read(text), {"fix": str(fix)})
        assert play(hands, run).state == "failed"
        fix.touch()
        runs.retry(run)
        assert play(hands, run).state == "completed"
        assert states(run) == {"soft": "failed", "hard": "completed"}
        assert Step.objects.get(run_id=run.id, name="soft").epoch == 1


class TestLists:
    TEXT = """
name: each
inputs: {items: {type: list}}
steps:
  work:
    skill: graphs.add
    foreach: ${inputs.items}
    with: {left: "${item}", right: "${index}"}
outputs: {all: "${steps.work}"}
"""

    @pytest.mark.parametrize("count", [0, 1, 5])
    def test_results_come_in_order(self, hands, count):
        """Whatever the order in which they end, the list of results is in the order of the entries."""
        run = play(hands, runs.start(read(self.TEXT), {"items": [10 * n for n in range(count)]}))
        assert (run.state, runs.result(run)) == ("completed", {"all": [11 * n for n in range(count)]})

    def test_only_so_many_go_at_the_same_time(self, hands):
        """With `max_parallel` an entry begins when another one has ended, whichever it is."""
        text = self.TEXT.replace("with:", "max_parallel: 2\n    with:")
        run = runs.start(read(text), {"items": list(range(5))})
        Step.objects.filter(run_id=run.id).update(queue="elsewhere")  # nothing follows in the same process
        hands.perform(Step.objects.get(run_id=run.id, state="ready"))
        seen = []
        while ready := list(Step.objects.filter(run_id=run.id, state="ready", position__lt=0).order_by("-id")):
            seen.append(len(ready))
            finish(hands.take(ready[0]), value=ready[0].name)
        assert seen == [2, 2, 2, 2, 1]
        assert runs.result(play(hands, run)) == {"all": [f"work[{n}]" for n in range(5)]}

    def test_failed_entry_that_may_fail_is_null(self, hands):
        """With `continue` an entry that failed leaves null in its place."""
        text = self.TEXT.replace("graphs.add", "graphs.fail").replace(
            'with: {left: "${item}", right: "${index}"}', "on_failure: continue\n    with: {value: '${item}'}"
        )
        run = play(hands, runs.start(read(text), {"items": [1, 2]}))
        assert (run.state, runs.result(run)) == ("completed", {"all": [None, None]})

    def test_what_is_no_list_is_said(self, hands):
        """A foreach over something else fails with the step's name."""
        text = """
name: wrong
steps:
  one: {skill: graphs.give, with: {value: 5}}
  many: {skill: graphs.give, foreach: "${steps.one}"}
"""
        run = play(hands, runs.start(read(text)))
        assert "goes through a list, and was given a number" in run.error["message"]

    def test_two_lists_in_one_run_keep_apart(self, hands):
        """Two steps that spread gather each its own entries."""
        text = """
name: both
steps:
  a: {skill: graphs.give, foreach: "${[1, 2]}", with: {value: "${item}"}}
  b: {skill: graphs.add, foreach: "${steps.a}", with: {left: "${item}", right: 100}}
  c: {skill: graphs.give, foreach: "${['x']}", with: {value: "${item}"}}
"""
        run = play(hands, runs.start(read(text)))
        assert runs.result(run) == {"b": [101, 102], "c": ["x"]}


class TestGates:
    TEXT = """
name: gated
steps:
  work: {skill: graphs.give, with: {value: 3}}
  review: {gate: approval, who: [ann, "group:leads"], with: {seen: "${steps.work}"}}
  done: {skill: graphs.give, needs: review, with: {value: ok}}
"""

    def test_approved_gate_lets_the_run_go_on(self, hands):
        """Somebody who may approve does, and the step behind the gate is performed."""
        run = runs.start(read(self.TEXT))
        assert play(hands, run).state == "running"
        assert Step.objects.get(run_id=run.id, name="review").waiting == "signal"
        runs.approve(run, "review", by="ann", reason="fine")
        assert runs.result(play(hands, run)) == "ok"

    def test_refused_gate_fails(self, hands):
        """A refusal halts the run with who and why."""
        run = runs.start(read(self.TEXT))
        play(hands, run)
        runs.refuse(run, by="ann", reason="too dear")
        assert play(hands, run).error["type"] == GateRefused.__name__
        with pytest.raises(RunFailed, match="ann refused at gate 'review': too dear"):
            runs.result(run)

    def test_gate_that_nobody_decides_times_out(self, hands):
        """The error names the gate, who could have approved, and how long it waited."""
        text = self.TEXT.replace('"group:leads"]', '"group:leads"], timeout: 2h')
        run = runs.start(read(text))
        play(hands, run)
        gate = Step.objects.get(run_id=run.id, name="review")
        Checkpoint.objects.filter(step_id=gate.id, kind="wait").update(
            data=values.pack({"deadline": "2020-01-01T00:00:00+00:00"}, place="a test").data
        )
        make_due(gate)
        ledger.ask("SELECT * FROM execution_wake_v1()")
        with pytest.raises(
            RunFailed, match="gate 'review' timed out: ann, group:leads could have approved, and in 2 h"
        ):
            runs.result(play(hands, run))

    def test_only_who_is_named_decides(self, hands, django_user_model):
        """Others are refused, members of a named group are not."""
        from django.contrib.auth.models import Group

        run = runs.start(read(self.TEXT))
        play(hands, run)
        with pytest.raises(NotAllowed, match="'bob' may not decide at gate 'review': ann, group:leads may"):
            runs.approve(run, "review", by="bob")
        user = django_user_model.objects.create_user("bob")
        user.groups.add(Group.objects.create(name="leads"))
        runs.approve(run, "review", by="bob")
        assert play(hands, run).state == "completed"

    def test_signal_is_no_way_around_a_gate(self, hands):
        """A decision cannot be sent as a signal."""
        run = runs.start(read(self.TEXT))
        play(hands, run)
        with pytest.raises(OptionInvalid, match="is a gate's decision"):
            runs.signal(run, "gate:review", {"approved": True})

    def test_gate_that_nobody_has_reached_cannot_be_decided(self):
        """A decision before its time, or at a gate that is not there, is refused in words."""
        run = runs.start(read(self.TEXT))
        with pytest.raises(NotPossible, match="gate 'review' of run .* is blocked"):
            runs.approve(run, "review", by="ann")
        with pytest.raises(NotPossible, match="has no gate 'reviw'; did you mean 'review'"):
            runs.approve(run, "reviw", by="ann")

    def test_check_closes_the_gate(self, hands):
        """A check that is not true fails its step with what was checked."""
        text = """
name: checked
inputs: {n: {type: integer}}
steps: {enough: {gate: check, check: "${inputs.n > 3}"}}
"""
        assert play(hands, runs.start(read(text), {"n": 4})).state == "completed"
        run = play(hands, runs.start(read(text), {"n": 3}))
        assert "gate 'enough' is closed: ${inputs.n > 3} is not true" in run.error["message"]

    def test_signal_brings_its_data(self, hands):
        """What a signal brings is the gate's result."""
        text = "name: waits\nsteps: {paid: {gate: signal, signal: 'paid-${run.workflow}'}}"
        run = runs.start(read(text))
        play(hands, run)
        runs.signal(run, "paid-waits", {"amount": 3})
        assert runs.result(play(hands, run)) == {"amount": 3}

    def test_sleep_frees_the_worker(self, hands):
        """A sleeping step waits for its timer."""
        run = runs.start(read("name: rests\nsteps: {rest: {sleep: 6h}, then: {skill: graphs.give, needs: rest}}"))
        play(hands, run)
        rest = Step.objects.get(run_id=run.id, name="rest")
        assert (rest.state, rest.waiting) == ("waiting", "timer")
        assert timedelta(hours=5) < rest.wake_at - rest.changed_at < timedelta(hours=7)


class TestSubWorkflows:
    def test_result_of_a_workflow_is_a_steps_result(self, hands):
        """A sub-workflow is a run of its own, under the version that was there when its parent began."""
        inner = catalog.register(read(SUM))
        text = """
name: outer
steps:
  inner: {workflow: sum-up, with: {start: 5}}
  more: {skill: graphs.add, with: {left: "${steps.inner.total}", right: 1}}
"""
        run = runs.start(read(text))
        catalog.register(read(SUM.replace("right: 10", "right: 1000")))
        play(hands, run)
        child = Run.objects.get(parent_run_id=run.id)
        assert (child.workflow, child.version) == ("sum-up", str(inner.number))
        assert play(hands, child).state == "completed"
        errands.tell_parents(child.parent_step_id)
        assert runs.result(play(hands, run)) == 18

    def test_circle_of_workflows_is_refused(self):
        """A workflow that would run itself by way of another one is refused with the path."""
        catalog.register(read("name: a\nsteps: {x: {skill: graphs.give}}"))
        catalog.register(read("name: b\nsteps: {x: {workflow: a}}"))
        with pytest.raises(workflows.DefinitionInvalid, match="run each other in a circle: a runs b runs a"):
            catalog.register(read("name: a\nsteps: {x: {workflow: b}}"))


class TestForks:
    TEXT = """
name: forked
inputs: {n: {type: integer}}
steps:
  a: {skill: graphs.add, with: {left: "${inputs.n}", right: 1}}
  side: {skill: graphs.give, with: {value: "${inputs.n}"}}
  b: {skill: graphs.add, with: {left: "${steps.a}", right: "${inputs.n}"}}
  c: {skill: graphs.add, with: {left: "${steps.b}", right: 0}}
outputs: {c: "${steps.c}", side: "${steps.side}"}
"""

    def test_fork_does_again_what_comes_after_the_step(self, hands):
        """What does not come after the step keeps its result; the rest is done with the changed input."""
        run = play(hands, runs.start(read(self.TEXT), {"n": 1}))
        fork = runs.fork(run, "b", input={"n": 100})
        assert states(fork) == {
            "a": "completed", "side": "completed", "b": "ready", "c": "blocked", "(outputs)": "blocked",
        }  # fmt: skip
        assert runs.result(play(hands, fork)) == {"c": 102, "side": 1}
        assert runs.result(run) == {"c": 3, "side": 1}

    def test_fork_without_a_step_does_everything_again(self, hands):
        """A fork of the whole run keeps its version and its input."""
        run = play(hands, runs.start(read(self.TEXT), {"n": 1}))
        catalog.register(read(self.TEXT.replace("right: 1}", "right: 1000}")))
        assert runs.result(play(hands, runs.fork(run))) == {"c": 3, "side": 1}

    def test_fork_to_another_version_does_everything_again(self, hands):
        """A run goes back to the version before, from its start only."""
        runs.start(read(self.TEXT), {"n": 1})
        run = play(hands, runs.start(read(self.TEXT.replace("right: 1}", "right: 1000}")), {"n": 1}))
        assert runs.get(run).version == "2"
        fork = runs.fork(run, version="1")
        assert (fork.version, runs.result(play(hands, fork))) == ("1", {"c": 3, "side": 1})
        with pytest.raises(NotPossible, match="from its start only"):
            runs.fork(run, "b", version="1")

    def test_fork_from_a_step_that_is_not_there_is_refused(self, hands):
        """The nearest step is named."""
        run = runs.start(read(self.TEXT), {"n": 1})
        with pytest.raises(RunUnknown, match="has no step 'sid'; did you mean 'side'"):
            runs.fork(run, "sid")


class TestRetries:
    """What a retry of a failed graph does with gates and sub-workflows."""

    def test_refused_gate_asks_again(self, hands):
        """After a retry somebody may decide anew."""
        run = runs.start(read(TestGates.TEXT))
        play(hands, run)
        runs.refuse(run, by="ann")
        assert play(hands, run).state == "failed"
        runs.retry(run)
        assert play(hands, run).state == "running"
        runs.approve(run, by="ann")
        assert runs.result(play(hands, run)) == "ok"

    def test_child_that_ended_while_its_parent_had_failed_is_seen(self, hands, tmp_path):
        """A parent that is retried looks again at the children that it waited for."""
        fix = tmp_path / "fix"
        catalog.register(read("name: inner\nsteps: {a: {skill: graphs.give, with: {value: 5}}}"))
        text = """
name: outer
inputs: {fix: {type: text}}
steps:
  kid: {workflow: inner}
  boom: {skill: graphs.fail, with: {fix: "${inputs.fix}"}}
  end: {skill: graphs.give, needs: boom, with: {value: "${steps.kid}"}}
"""
        run = runs.start(read(text), {"fix": str(fix)})
        assert play(hands, run).state == "failed"
        child = Run.objects.get(parent_run_id=run.id)
        assert play(hands, child).state == "completed"
        errands.tell_parents(child.parent_step_id)
        fix.touch()
        runs.retry(run)
        assert runs.result(play(hands, run)) == 5

    def test_failed_sub_workflow_goes_on_from_what_failed_there(self, hands, tmp_path):
        """A retry of the parent retries the child that failed it."""
        fix = tmp_path / "fix"
        catalog.register(
            read(
                "name: half\ninputs: {fix: {type: text}}\nsteps: {b: {skill: graphs.fail, with: {value: 3, fix: '${inputs.fix}'}}}"
            )
        )
        text = "name: whole\ninputs: {fix: {type: text}}\nsteps: {kid: {workflow: half, with: {fix: '${inputs.fix}'}}}"
        run = runs.start(read(text), {"fix": str(fix)})
        play(hands, run)
        child = Run.objects.get(parent_run_id=run.id)
        assert play(hands, child).state == "failed"
        errands.tell_parents(child.parent_step_id)
        assert play(hands, run).state == "failed"
        fix.touch()
        runs.retry(run)
        play(hands, run)
        assert play(hands, child).state == "completed"
        errands.tell_parents(child.parent_step_id)
        assert runs.result(play(hands, run)) == 3


class TestWhy:
    """What is said of a graph that waits."""

    def test_gate_says_who_may_decide_and_how(self, hands):
        """A person is told the command that works."""
        run = runs.start(read(TestGates.TEXT))
        play(hands, run)
        (reason,) = [one for one in why.explain(run).reasons if one.step == "review"]
        assert "it waits at gate 'review' for an approval by ann, group:leads" in reason.text
        assert reason.moves[0] == f"manage.py approve {run.id} review"

    def test_entry_that_waits_for_its_turn_says_so(self, hands):
        """An entry beyond max_parallel needs no step: it waits for its turn."""
        text = TestLists.TEXT.replace("with:", "max_parallel: 1\n    with:")
        run = runs.start(read(text), {"items": [1, 2]})
        Step.objects.filter(run_id=run.id).update(queue="elsewhere")
        hands.perform(Step.objects.get(run_id=run.id, state="ready"))
        texts = [one.text for one in why.explain(run).reasons if one.step == "work[1]"]
        assert "max_parallel" in texts[0]


def test_fallback_of_a_gate_takes_nothing_of_the_gates_own(hands):
    """What stands in for a gate that failed is given what the gate was given, not its signal."""
    text = """
name: late
steps: {paid: {gate: approval, with: {value: 4}, on_failure: {fallback: graphs.give}}}
"""
    run = runs.start(read(text))
    play(hands, run)
    runs.refuse(run, by="ann")
    assert runs.result(play(hands, run)) == 4
