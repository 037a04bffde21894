"""Memory: recalled by words, kept once, never in a step's way."""

from datetime import timedelta

import psycopg
import pytest
from django.db.models.functions import Now

from execution import ledger, memory, runs
from execution.exceptions import AgentUnknown, NotJson, OptionInvalid, ValueTooLarge
from execution.models import Agent, Checkpoint, Event, Memory
from execution.plain import PlainContext
from tests.execution.stage import Crash
from tests.execution.test_commands import document, refused, typed
from tests.hands import side_by_side

pytestmark = pytest.mark.django_db
committed = pytest.mark.django_db(transaction=True)


@pytest.fixture
def scout():
    """An agent that remembers."""
    return Agent.objects.create(name="scout")


def age(key, **length):
    """Let a memory be so much older."""
    Memory.objects.filter(key=key).update(updated_at=Now() - timedelta(**length))


def keys(found):
    """Return the keys of what was recalled, in order."""
    return [one.key for one in found]


class TestRecall:
    """What an agent remembers is found by its words, best first."""

    def test_more_relevant_goes_first(self, scout):
        """A memory that says more of what is asked for goes before one that says less; one that says nothing is left out."""
        memory.remember("scout", "the deployment failed because the certificate had expired", key="both")
        memory.remember("scout", "the deployment went well", key="one")
        memory.remember("scout", "lunch is at noon", key="none")
        assert keys(memory.recall("scout", "expired certificate of a deployment")) == ["both", "one"]

    def test_words_are_found_by_their_stem(self, scout):
        """Deploys finds what was deployed."""
        memory.remember("scout", {"note": ["we deployed it on Friday"]}, key="friday")
        assert keys(memory.recall("scout", "deploys")) == ["friday"]

    def test_more_recent_goes_first(self, scout):
        """Of two that say the same the recent one goes first; a pinned one does not grow old."""
        for key in ("old", "new", "pinned"):
            memory.remember("scout", "the deployment went well", key=key, pinned=key == "pinned")
        age("old", days=60)
        age("new", days=1)
        age("pinned", days=600)
        found = memory.recall("scout", "deployment")
        assert keys(found) == ["pinned", "new", "old"]
        assert found[2].score == pytest.approx(found[0].score / 4, rel=0.01)

    def test_without_words_the_most_recent(self, scout):
        """A query without a word that counts recalls the most recent, also very old ones."""
        for key, days in (("a", 3), ("b", 1), ("c", 30_000)):
            memory.remember("scout", key, key=key)
            age(key, days=days)
        assert keys(memory.recall("scout")) == keys(memory.recall("scout", "the of")) == ["b", "a", "c"]
        assert keys(memory.recall("scout", limit=1)) == ["b"]

    def test_kinds_and_agents_are_apart(self, scout):
        """Another agent's memories and other kinds are not recalled."""
        Agent.objects.create(name="other")
        memory.remember("scout", "deployment", kind="fact", key="mine")
        memory.remember("scout", "deployment", kind="note", key="note")
        memory.remember("other", "deployment", kind="fact", key="theirs")
        assert keys(memory.recall("scout", "deployment", kinds=["fact"])) == ["mine"]

    @pytest.mark.parametrize(
        "query", ["a & b | !c", "':*", "\\", "x" * 5000, "\ud800\0", "a=1&b=2 http://x.y/?a=1&b='", "%s %%"]
    )
    def test_any_text_may_be_asked(self, scout, query):
        """A query is words, whatever signs are in it."""
        memory.remember("scout", "b c", key="k")
        assert len(memory.recall("scout", query)) <= 1

    def test_expired_ones_are_not_recalled(self, scout):
        """What has expired is neither recalled nor kept, by the database's clock; what is pinned never expires."""
        memory.remember("scout", "deployment", key="short", ttl="1h")
        memory.remember("scout", "deployment", key="pinned", ttl="1h", pinned=True)
        Memory.objects.update(expires_at=Now() - timedelta(seconds=1))
        assert keys(memory.recall("scout", "deployment")) == ["pinned"]
        assert memory.tidy() == 1
        assert [one.key for one in Memory.objects.all()] == ["pinned"]


class TestKeeping:
    """Memories are kept by kind and key."""

    def test_same_key_takes_the_others_place(self, scout):
        """A second value under a key replaces the first, and a pin stays unless it is taken off."""
        memory.remember("scout", "one", key="k", pinned=True)
        memory.remember("scout", "two", key="k")
        row = Memory.objects.get()
        assert (ledger.unpack(row.value), row.is_pinned) == ("two", True)
        memory.remember("scout", "two", key="k", pinned=False)
        assert not Memory.objects.get().is_pinned

    def test_without_a_key_the_same_is_kept_once(self, scout):
        """The same value twice is one memory."""
        for _ in range(2):
            memory.remember("scout", {"a": 1, "b": 2})
        memory.remember("scout", {"b": 2, "a": 1})
        assert Memory.objects.count() == 1

    @pytest.mark.parametrize(
        ("given", "error"),
        [
            ({"value": object()}, NotJson),
            ({"value": "x" * 60_001}, ValueTooLarge),
            ({"value": 1, "key": ""}, OptionInvalid),
            ({"value": 1, "key": "k" * 256}, OptionInvalid),
            ({"value": 1, "kind": "k" * 51}, OptionInvalid),
            ({"value": 1, "ttl": "soon"}, OptionInvalid),
        ],
    )
    def test_what_cannot_be_kept_is_refused(self, scout, given, error):
        """Bad input is refused before anything is written."""
        with pytest.raises(error):
            memory.remember("scout", **given)
        assert not Memory.objects.exists()

    def test_least_used_leaves_first(self, scout, settings):
        """Above its limit an agent forgets what was longest neither changed nor recalled; what is pinned stays."""
        settings.CELERIAC = settings.CELERIAC | {"memory_limit": 2}
        for number, key in enumerate(["recalled", "old", "new", "pinned"]):
            memory.remember("scout", f"word{number}", key=key, pinned=key == "pinned")
            age(key, days=10 - number)
        memory.recall("scout", "word0")
        age("pinned", days=99)
        assert memory.tidy() == 1
        assert set(Memory.objects.values_list("key", flat=True)) == {"recalled", "new", "pinned"}

    def test_forgetting(self, scout):
        """A memory is forgotten by its key, or a whole kind is."""
        memory.remember("scout", 1, key="a", kind="fact")
        memory.remember("scout", 2, key="b", kind="fact")
        assert (memory.forget("scout", "a"), memory.forget("scout", kind="fact")) == (1, 1)
        with pytest.raises(OptionInvalid, match="a key, a kind, or both"):
            memory.forget("scout")
        with pytest.raises(AgentUnknown, match="did you mean 'scout'"):
            memory.recall("scot")


@committed
class TestInASkill:
    """A step recalls and remembers, each once."""

    def test_recalled_is_served_on_replay(self, stage):
        """What a pass recalled is what every later pass recalls, whatever is remembered since; what it kept is kept once."""
        memory.remember("default", "the deployment went well", key="first")
        seen = []

        def planning(ctx):
            seen.append(ctx.memory.recall("deployment"))
            ctx.memory.remember("a deployment of today", key="today", kind="fact")
            if ctx.attempt == 1:
                raise Crash
            return [one.key for one in ctx.memory.recall("deployment", token="again")]

        run = stage.open(planning)
        stage.crash(run)
        before = Memory.objects.get(key="today").updated_at
        memory.remember("default", "a deployment in between", key="between")
        assert set(stage.finish(run)) == {"first", "today", "between"}
        assert seen[0] == seen[1]
        assert keys(seen[0]) == ["first"]
        kept = Memory.objects.get(key="today")
        assert (kept.run_id, kept.updated_at) == (run.id, before)
        assert Event.objects.filter(kind="memory.updated", run_id=run.id).count() == 1

    def test_late_step_remembers_nothing(self, stage):
        """A step that was given to another worker is refused by the write."""

        def late(ctx):
            ledger.give_back(ctx.step_id, ctx.attempt, ending="lost", reason="its lease ran out")
            ctx.memory.remember("late")

        stage.play(stage.open(late))
        assert not Memory.objects.exists()

    def test_memory_away_costs_no_step(self, stage):
        """While the table is gone a step recalls nothing and goes on; what it remembered is kept when the table is back."""
        from execution import memory_rules

        ledger.ask("ALTER TABLE execution_memory RENAME TO away")
        try:

            def working(ctx):
                found = ctx.memory.recall("anything")
                ctx.memory.remember("said while it was away", key="k", ttl="1h")
                ctx.sleep("nap", milliseconds=1)
                return len(found)

            run = stage.open(working)
            assert stage.finish(run) == 0
        finally:
            ledger.ask("ALTER TABLE away RENAME TO execution_memory")
        assert {"memory.unavailable", "memory.owed"} <= set(stage.events(run))
        memory_rules.apply_all()
        memory_rules.apply_all()
        assert [one.value for one in memory.recall("default", "away")] == ["said while it was away"]
        assert Memory.objects.get().run_id == run.id

    def test_slow_memory_costs_half_a_second(self, stage, settings):
        """While somebody holds the table a step waits for `recall_seconds` and goes on with nothing."""
        settings.CELERIAC = settings.CELERIAC | {"recall_seconds": 0.1}
        memory.remember("default", "word", key="k")
        run = stage.open(lambda ctx: [len(ctx.memory.recall("word")), ctx.memory.remember("owed", key="o")])
        with psycopg.connect(**ledger.address()) as other:
            other.execute("LOCK TABLE execution_memory")
            assert stage.finish(run) == [0, None]
        assert Checkpoint.objects.filter(step_id=run.id, token="remember:note/o").exists()
        assert "memory.owed" in stage.events(run)

    def test_owed_gives_way_to_newer(self, stage, settings):
        """What was owed does not take the place of what was remembered since under its key."""
        from execution import memory_rules

        settings.CELERIAC = settings.CELERIAC | {"recall_seconds": 0.1}
        run = stage.open(lambda ctx: ctx.memory.remember("owed", key="k"))
        with psycopg.connect(**ledger.address()) as other:
            other.execute("LOCK TABLE execution_memory")
            stage.finish(run)
        memory.remember("default", "newer", key="k")
        memory_rules.apply_all()
        assert [one.value for one in memory.recall("default")] == ["newer"]

    def test_recalls_side_by_side_wait_for_nobody(self, stage):
        """Eight recalls of the same memory at once all answer."""
        memory.remember("default", "word", key="k")
        found = side_by_side(*[lambda: memory.recall("default", "word")] * 8)
        assert [keys(one) for one in found] == [["k"]] * 8

    def test_in_a_loop_each_iteration_has_its_own(self, stage):
        """Inside `each` the same words may be used in every iteration."""

        def looping(ctx):
            for item in ctx.each("item", ["a", "b"]):
                ctx.memory.remember(item, key="last")
                assert ctx.memory.recall("last")[0].value == item

        stage.finish(stage.open(looping))
        assert ledger.unpack(Memory.objects.get().value) == "b"

    def test_fork_keeps_what_was_recalled(self, stage):
        """A fork is served what its origin recalled, and may begin before a recall."""
        memory.remember("default", "one", key="k")
        run = stage.open(lambda ctx: ctx.memory.recall("one", token="plan")[0].value)
        stage.finish(run)
        memory.remember("default", "one more", key="k")
        assert stage.finish(runs.fork(run)) == "one"
        assert stage.finish(runs.fork(run, before="plan")) == "one more"


def test_direct_call_recalls_what_it_is_given():
    """A skill that is called directly recalls its context's memories, and shows what it remembered and shared."""
    given = memory.Recollection(kind="note", key="k", value="v", score=1.0, updated_at=None)
    ctx = PlainContext(memories=[given], session={"n": 1})
    assert ctx.memory.recall("words") == [given]
    ctx.memory.remember("w", key="x")
    ctx.session.update("count", lambda s: {"n": s["n"] + 1})
    assert (ctx.remembered, ctx.session.state) == ({"x": "w"}, {"n": 2})


class TestCommand:
    """An operator looks into a memory and changes it."""

    def test_remembered_recalled_forgotten(self, scout):
        """What is typed is remembered, recalled by its words, listed and forgotten."""
        assert typed("memory", "remember", "scout", "the deployment failed", "--key", "d") == "scout remembers note d"
        typed("memory", "remember", "scout", '{"n": 1}', "--kind", "fact", "--ttl", "1h", "--pinned")
        found = document("memory", "recall", "scout", "failed", "deployments")["memories"]
        assert [(one["key"], one["value"]) for one in found] == [("d", "the deployment failed")]
        assert [one["value"] for one in document("memory", "list", "scout", "--kind", "fact")["memories"]] == [{"n": 1}]
        assert "deployment failed" in typed("memory", "list", "scout")
        assert typed("memory", "forget", "scout", "--key", "d") == "forgot 1 memory"
        assert "a key, a kind, or both" in refused("memory", "forget", "scout")
        assert "there is no agent named 'scot'; did you mean 'scout'" in refused("memory", "list", "scot")

    def test_rules(self, scout):
        """Rules are set, listed with what became of them, and dropped."""
        given = ("--key", "last of ${run.workflow}", "--path", "title", "--if", "item.score > 1", "--agent", "scout")
        assert document("memory", "rule", "title", *given)["condition"] == "item.score > 1"
        assert [row["name"] for row in document("memory", "rules")["rules"]] == ["title"]
        assert "title" in typed("memory", "rules")
        assert document("memory", "rules", "--failed") == {"failures": []}
        assert "cannot be read" in refused("memory", "rule", "bad", "--key", "k", "--if", "1 +")
        assert typed("memory", "drop", "title") == "the rule 'title' is dropped"
        assert "there is no rule 'title'" in refused("memory", "drop", "title")
