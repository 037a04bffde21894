"""Quality: drawn by chance, scored once by each evaluator, within the budget, and evaluators are compared."""

import uuid
from decimal import Decimal

import pydantic_ai.models.openai  # noqa: F401 - its import would count into the time-outs
import pytest
from django.utils import timezone

from execution import agents, runs
from execution.exceptions import OptionInvalid
from execution.models import Agent, Verdict
from graduation import quality
from graduation.models import Evaluator, Sample, Score
from tests.hands import MARKS, Hands, side_by_side
from tests.recovery.model_server import ModelServer

pytestmark = MARKS

ANSWER = {"correctness": 0.9, "completeness": 0.6, "clarity": 0.9, "reasoning": "it fits", "confidence": 0.7}
COST = Decimal("0.000900")
"""Of 200 tokens at 2.00 and 50 at 10.00 a million."""


@pytest.fixture(autouse=True)
def known(transactional_db, settings, monkeypatch):
    """Have no rubric but the test's own, and draw everything."""
    settings.CELERIAC = settings.CELERIAC | {"quality_share": 1.0}
    monkeypatch.setattr(quality, "_RUBRICS", {})
    quality.draw()
    yield
    quality._discover.cache_clear()


@pytest.fixture
def hands():
    """Perform steps in this process."""
    found = Hands()
    yield found
    found.close()


@pytest.fixture
def model(settings, monkeypatch):
    """Have a model that answers in time, also on a busy machine."""
    made = ModelServer()
    made.answer = ANSWER
    settings.CELERIAC = settings.CELERIAC | {
        "model": "local:tests",
        "model_base_url": made.url,
        "model_timeout_seconds": 20.0,
        "model_input_price": 2.0,
        "model_output_price": 10.0,
        "model_daily_budget": 100.0,
    }
    monkeypatch.setenv("CELERIAC_MODEL_KEY", "k")
    yield made
    made.close()


def performed(hands, count=1, **options):
    """Perform runs of one step."""
    made = [runs.start("tests.add", {"left": number}, **options) for number in range(count)]
    for run in made:
        hands.perform(run)
    return made


def judge(name="sums", *, skills=("tests.add",), says=lambda output, given: 0.9):
    """Register a rubric."""
    return quality.rubric(name, skills=skills)(says)


class TestDrawing:
    def test_by_id_and_share(self, hands, settings):
        """As many are drawn as the share says, the same ones whoever draws; an agent may have a share of its own."""
        judge()
        agent = Agent.objects.create(name="scout")
        quality.sample("scout", 0.0, by="ann")
        performed(hands, 3)
        performed(hands, 2, agent=agent)
        side_by_side(*[quality.draw] * 2)
        quality.draw()
        assert list(Sample.objects.values_list("agent__name", flat=True).distinct()) == ["default"]
        assert Sample.objects.count() == 3
        quality.sample("scout", None)
        assert all(quality._is_drawn(uuid.uuid4(), None) for _ in range(20))
        drawn = sum(quality._is_drawn(uuid.UUID(int=number), 0.05) for number in range(10_000))
        assert 420 < drawn < 580

    def test_only_what_somebody_can_score(self, hands):
        """Without an evaluator that fits nothing is drawn."""
        performed(hands)
        quality.draw()
        judge(skills=("another.skill",))
        performed(hands)
        quality.draw()
        assert not Sample.objects.exists()

    @pytest.mark.parametrize("share", [-0.1, 1.1])
    def test_share_is_a_share(self, share):
        """What is no share is refused."""
        with pytest.raises(OptionInvalid, match="from 0 to 1"):
            quality.sample(agents.DEFAULT, share)


class TestRubrics:
    def test_scores_once(self, hands):
        """A rubric sees the output and the input, and scores a step once, whoever passes how often."""
        seen = []
        judge(says=lambda output, given: seen.append((output, given)) or {"right": 1.0, "short": 0.5})
        run = performed(hands)[0]
        quality.draw()
        side_by_side(*[quality.score] * 3)
        Sample.objects.update(scored_at=None, held_until=None)
        quality.score()
        score = Score.objects.get()
        assert (score.evaluator, score.score, score.dimensions) == ("sums", 0.75, {"right": 1.0, "short": 0.5})
        assert (score.step_id, seen[0][1]["left"]) == (run.id, 0)
        verdict = Verdict.objects.get(pk=score.verdict_id)
        assert (verdict.kind, verdict.subject, verdict.agent_id, verdict.data["score"]) == ("quality_score", f"output:{run.id}", None, 0.75)  # fmt: skip

    @pytest.mark.parametrize("says", [lambda *_: 1 / 0, lambda *_: 1.5, lambda *_: {}, lambda *_: "good", lambda *_: float("nan")])  # fmt: skip
    def test_one_that_fails_fails_nothing(self, hands, says):
        """A rubric that raises or says nonsense is counted and shown; the others score."""
        judge("broken", says=says)
        judge("fine")
        performed(hands)
        quality.draw()
        assert quality.score() == 1
        broken = Evaluator.objects.get(pk="broken")
        assert (broken.failure_count, bool(broken.last_error)) == (1, True)
        assert not Sample.objects.filter(scored_at=None).exists()

    def test_names_are_once(self):
        """Two rubrics of one name, and one that is named like the model, are refused."""
        judge("one")
        for name in ("one", "model", ""):
            with pytest.raises(OptionInvalid, match="another evaluator"):
                quality.rubric(name)(performed)

    def test_who_died_holds_for_a_while(self, hands):
        """What somebody holds is not taken by another, until that one's time is over."""
        judge()
        performed(hands)
        quality.draw()
        Sample.objects.update(held_until=timezone.now() + quality._HELD)
        assert quality.score() == 0
        Sample.objects.update(held_until=timezone.now() - quality._HELD)
        assert quality.score() == 1


class TestModel:
    def test_scores_by_dimension(self, hands, model):
        """The model says a score per dimension, why and how sure it is; that costs what it says."""
        performed(hands)
        quality.draw()
        assert quality.score() == 1
        score = Score.objects.get()
        assert (score.evaluator, score.score, score.confidence, score.cost) == ("model", pytest.approx(0.8), 0.7, COST)
        assert Evaluator.objects.get().spent == COST
        verdict = Verdict.objects.get(pk=score.verdict_id)
        assert (verdict.model, verdict.prompt_version, verdict.cost) == ("local:tests", "1", COST)

    def test_within_the_budget(self, hands, model, settings):
        """It is asked only while the dearest answer is left of the day's budget, and again the next day."""
        settings.CELERIAC = settings.CELERIAC | {"quality_daily_budget": 0.05}
        performed(hands, 4)
        quality.draw()
        Evaluator.objects.create(name="model", day=timezone.now().date(), spent=Decimal("0.049"))
        assert quality.score() == 0
        assert (model.asked, Evaluator.objects.get().spent) == ([], Decimal("0.049000"))
        Evaluator.objects.update(day="2020-01-01")
        Sample.objects.update(scored_at=None)
        assert quality.score() == 4
        assert Evaluator.objects.get().spent == 4 * COST

    def test_no_answer_is_no_score(self, hands, model):
        """A model that cannot answer fails nothing; what it might have cost counts."""
        model.answer = {"nonsense": 1}
        performed(hands)
        quality.draw()
        assert quality.score() == 0
        assert Evaluator.objects.get().spent > 0
        assert not Sample.objects.filter(scored_at=None).exists()


class TestComparing:
    def scores(self, **given):
        """Write scores of as many items, by evaluator."""
        agent = agents.id_of(None)
        for place in range(len(next(iter(given.values())))):
            step = uuid.uuid4()
            for evaluator, values in given.items():
                Score.objects.create(step_id=step, agent_id=agent, evaluator=evaluator, score=values[place])
        for evaluator in given:
            Evaluator.objects.get_or_create(name=evaluator)

    def degraded(self):
        """Compare, and return who is degraded."""
        quality.compare()
        return list(Evaluator.objects.filter(is_degraded=True).values_list("name", flat=True))

    def test_who_disagrees_is_degraded_until_it_agrees(self):
        """Of three the one that is far from the others is degraded, and trusted again when it has come near."""
        self.scores(a=[0.8] * 12, b=[0.75] * 12, odd=[0.2] * 12)
        assert self.degraded() == ["odd"]
        assert Evaluator.objects.get(pk="odd").disagreement == pytest.approx(0.55)
        self.scores(a=[0.8] * 60, b=[0.75] * 60, odd=[0.8] * 60)
        assert self.degraded() == []

    def test_few_items_say_nothing(self):
        """Before ten shared items nobody is judged."""
        self.scores(a=[0.8] * 9, b=[0.1] * 9)
        assert self.degraded() == []
        self.scores(a=[0.8], b=[0.1])
        assert self.degraded() == ["a", "b"]


def test_cycle(hands):
    """The cycle draws, scores and compares."""
    judge()
    performed(hands)
    assert quality.WATCH.run() >= 2
    assert Score.objects.count() == 1


def test_pages(admin_client, hands):
    """The pages open, and an operator gives an agent a share of its own there."""
    judge()
    performed(hands)
    quality.draw(), quality.score()
    for name in ("score", "evaluator", "sampling", "sample"):
        assert admin_client.get(f"/admin/graduation/{name}/").status_code == 200, name
    assert admin_client.get(f"/admin/graduation/score/{Score.objects.get().pk}/change/").status_code == 200
    agent = Agent.objects.get(name="default")
    admin_client.post("/admin/graduation/sampling/add/", {"agent": str(agent.pk), "share": "0.5"})
    assert (agent.sampling.share, agent.sampling.changed_by) == (0.5, "admin")
