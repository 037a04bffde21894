"""Rules: a run's ending changes what its agent remembers, once, and never the run."""

from datetime import timedelta

import pytest
from django.db.models.functions import Now

from execution import ledger, memory, memory_rules, metrics, retention, runs
from execution.exceptions import ExpressionInvalid, OptionInvalid
from execution.models import Agent, Event, EventReader, Memory, MemoryRule, MemoryUpdate
from tests import skills as _skills  # noqa: F401 - registers them
from tests.hands import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def ended(stage):
    """Perform a run that returns a value, or fails."""

    def make(value=None, *, fails=False, **options):
        def returning(ctx, given=None):
            if fails:
                raise ValueError("no")
            return value

        task = stage.skill(returning)
        run = task.start(**options)
        stage.play(run)
        return run

    return make


def remembered(key):
    """Return the value of a memory."""
    return ledger.unpack(Memory.objects.get(key=key).value)


def outcomes():
    """Return what became of each rule."""
    return sorted(MemoryUpdate.objects.values_list("rule__name", "outcome"))


def test_four_operations(ended):
    """Set, append, increment and expire do with the result's part what they say."""
    memory.remember("default", "old", key="passing")
    memory_rules.set_rule("title", key="title", path="title")
    memory_rules.set_rule("all", key="all", operation="append", path="notes[0]")
    memory_rules.set_rule("count", key="count of ${run.agent}", operation="increment")
    memory_rules.set_rule("sum", key="sum", operation="increment", path="price", ttl="1h")
    memory_rules.set_rule("gone", key="passing", operation="expire")
    for number in (1, 2):
        ended({"title": f"t{number}", "notes": [number, 0], "price": 1.5})
        memory_rules.apply_all()
    assert (remembered("title"), remembered("all")) == ("t2", [1, 2])
    assert (remembered("count of default"), remembered("sum")) == (2, 3.0)
    assert memory.recall("default", "old") == []
    assert Memory.objects.get(key="sum").expires_at is not None
    assert {outcome for _, outcome in outcomes()} == {"applied"}


def test_only_what_fits_is_applied(ended):
    """A rule looks at the ending, the workflow, the agent and its condition; a false one is skipped, and says so."""
    Agent.objects.create(name="scout")
    run = ended({"score": 3}, agent="scout")
    EventReader.objects.update_or_create(name=memory_rules.READER)
    for name, options in {
        "fits": {"agent": "scout", "workflow": run.workflow},
        "low": {"condition": "item.score > 5"},
        "high": {"condition": "item.score == 3 and run.agent == 'scout'"},
        "failed": {"on": "failed"},
        "other agent": {"agent": "default"} if Agent.objects.get_or_create(name="default") else {},
        "other workflow": {"workflow": "other"},
        "off": {"is_enabled": False},
    }.items():
        memory_rules.set_rule(name, key=name, **options)
    MemoryRule.objects.update(created_at=run.created_at)
    memory_rules.apply_all()
    assert outcomes() == [("fits", "applied"), ("high", "applied"), ("low", "skipped")]
    assert set(Memory.objects.values_list("key", flat=True)) == {"fits", "high"}


def test_one_rule_fails_alone(ended):
    """A rule whose path is not there fails alone, with its reason in its row; the run is as it was."""
    memory_rules.set_rule("bad", key="k", path="missing.part")
    memory_rules.set_rule("no number", key="n", operation="increment", path="title")
    memory_rules.set_rule("large", key="l", path="text")
    memory_rules.set_rule("good", key="g", path="title")
    run = ended({"title": "t", "text": "x" * 100_000})
    memory_rules.apply_all()
    assert [outcome for _, outcome in outcomes()] == ["failed", "applied", "failed", "failed"]
    assert "has no field 'missing'" in MemoryUpdate.objects.get(rule__name="bad").error
    assert "is no number" in MemoryUpdate.objects.get(rule__name="no number").error
    assert (runs.get(run.id).state, remembered("g")) == ("completed", "t")


def test_once_for_a_rule_and_a_run(ended):
    """Passes side by side, and a reader that reads all again, apply a rule once."""
    memory_rules.set_rule("count", key="count", operation="increment")
    for _ in range(3):
        ended(1)
    side_by_side(*[memory_rules.apply_all] * 4)
    EventReader.objects.update(cursor={})
    memory_rules.apply_all()
    assert remembered("count") == 3
    assert Event.objects.filter(kind="memory.updated").count() == 3


def test_pass_that_dies_applies_nothing_and_the_next_all(ended, monkeypatch):
    """A pass cut off before its commit leaves no half: neither memory nor row nor cursor."""
    memory_rules.set_rule("count", key="count", operation="increment")
    ended(1)

    class Cut(BaseException):
        pass

    def cut(*_args, **_more):
        raise Cut

    with monkeypatch.context() as patched:
        patched.setattr(memory_rules, "_note", cut)
        with pytest.raises(Cut):
            memory_rules.apply_all()
    assert not Memory.objects.exists()
    assert not MemoryUpdate.objects.exists()
    memory_rules.apply_all()
    assert remembered("count") == 1


def test_skipped_is_looked_at_again(stage):
    """A run that ends again, after a retry, is judged by its last ending."""
    memory_rules.set_rule("any", key="k", on="", condition="item == 2")
    run = stage.open(lambda ctx: 2 if ctx.attempt > 1 else 1 / 0)
    stage.play(run)
    memory_rules.apply_all()
    assert outcomes() == [("any", "skipped")]
    runs.retry(run)
    stage.finish(run)
    memory_rules.apply_all()
    assert outcomes() == [("any", "applied")]


def test_rules_hold_from_when_they_are_made(ended):
    """What ended before a rule was made is left alone."""
    ended(1)
    memory_rules.set_rule("late", key="k")
    MemoryRule.objects.update(created_at=Now())
    memory_rules.apply_all()
    assert not MemoryUpdate.objects.exists()


def test_rules_that_cannot_be_read_are_refused():
    """A wrong word is answered with the nearest, a wrong expression with its reason."""
    with pytest.raises(OptionInvalid, match="did you mean 'append'"):
        memory_rules.set_rule("r", key="k", operation="apend")
    with pytest.raises(OptionInvalid, match="did you mean 'failed'"):
        memory_rules.set_rule("r", key="k", on="fail")
    for words in ({"condition": "1 +"}, {"path": "a..b"}, {"key": "${nothing}"}):
        with pytest.raises(ExpressionInvalid):
            memory_rules.set_rule("r", **{"key": "k", **words})
    with pytest.raises(OptionInvalid, match="key is text"):
        memory_rules.set_rule("r", key="")
    assert not MemoryRule.objects.exists()


def test_updates_are_counted(ended):
    """The metric tells how many changes there were, by operation and outcome."""
    memory_rules.set_rule("count", key="count", operation="increment")
    memory_rules.set_rule("bad", key="bad", path="nothing")
    ended(1)
    memory_rules.apply_all()
    text = metrics.text().decode()
    assert 'celeriac_memory_updates_total{operation="increment",outcome="applied"} 1.0' in text
    assert 'celeriac_memory_updates_total{operation="set",outcome="failed"} 1.0' in text


def test_old_updates_are_removed(ended):
    """What became of a rule is kept as long as the log."""
    memory_rules.set_rule("count", key="count", operation="increment")
    for _ in range(2):
        ended(1)
    memory_rules.apply_all()
    MemoryUpdate.objects.filter(pk=MemoryUpdate.objects.first().pk).update(at=Now() - timedelta(days=91))
    retention.clean_up()
    assert MemoryUpdate.objects.count() == 1
