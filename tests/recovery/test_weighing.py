"""Weighing: what fits, and that evidence counts by its lower bound."""

import pytest

from recovery import weighing
from recovery.models import ActionRecord, SuggestionAction
from recovery.weighing import Case


def case(**more):
    """Describe a failure."""
    about = {"error_kind": "transient", "category": "transient", "skill": "a", "standing": "failed"}
    return Case(**about | more)


def action(name="retry", **more):
    """Make a template."""
    about = {
        "verb": "retry", "parameters": {}, "version": 1, "proven_since": 1, "weight": 0.5, "level": 2, "risk": "low",
        "is_automated": True, "needs_approval": False, "error_kinds": [], "categories": [], "skills": [],
    }  # fmt: skip
    return SuggestionAction(name=name, **about | more)


def record(recovered, tried, **more):
    """Make a record."""
    return ActionRecord(tried_count=tried, recovered_count=recovered, **more)


class TestLowerBound:
    """Wilson's interval, one-sided at 95 %."""

    @pytest.mark.parametrize(
        ("recovered", "tried", "bound"),
        [
            (0, 0, 0.0),
            (0, 5, 0.0),
            (1, 1, 0.2699),
            (5, 10, 0.2693),
            (10, 11, 0.6772),
            (11, 11, 0.8026),
            (99, 100, 0.9564),
        ],
    )
    def test_known_values(self, recovered, tried, bound):
        """Found by bisection of the score test, not by the formula; nothing tried says nothing."""
        assert weighing.lower_bound(recovered, tried) == pytest.approx(bound, abs=2e-4)

    def test_eleven_of_eleven_is_the_first_that_is_enough(self):
        """Ten of ten stay below 0.8, eleven of eleven are just above."""
        assert weighing.lower_bound(10, 10) < 0.8 < weighing.lower_bound(11, 11) < 0.805

    def test_one_success_counts_less_than_many(self):
        """A mean of one is no proof."""
        assert weighing.lower_bound(1, 1) < weighing.lower_bound(8, 10) < weighing.lower_bound(80, 100)


class TestFit:
    """Which action fits what."""

    @pytest.mark.parametrize(
        ("more", "fits"),
        [
            ({}, True),
            ({"error_kinds": ["transient"]}, True),
            ({"error_kinds": ["permanent"]}, False),
            ({"categories": ["transient"]}, True),
            ({"categories": ["planner"]}, False),
            ({"skills": ["a"]}, True),
            ({"skills": ["b"]}, False),
            ({"verb": "resume"}, False),
            ({"verb": "gone"}, False),
        ],
    )
    def test_rules(self, more, fits):
        """Kind, category, skill and the standing of the run must all admit it."""
        assert (weighing.fit_of(case(), action(**more)) is not None) is fits

    def test_parked_run_is_topped_up_and_not_retried(self):
        """What a run waits for decides what fits."""
        parked = case(standing="budget", error_kind="resource")
        assert [one.name for one in weighing.weigh(parked, [action(), action("top-up", verb="top_up")], {})] == [
            "top-up"
        ]


class TestOrder:
    """Which action is suggested."""

    def test_template_weighs_until_there_is_evidence(self):
        """The heavier one goes first; a proven one overtakes it."""
        heavy, light = action("heavy", weight=0.7), action("light", weight=0.4)
        assert [one.name for one in weighing.weigh(case(), [light, heavy], {})] == ["heavy", "light"]
        proven = {("light", 1): record(30, 30)}
        assert [one.name for one in weighing.weigh(case(), [light, heavy], proven)] == ["light", "heavy"]

    def test_lucky_one_does_not_pass_the_proven(self):
        """One of one has the better mean, and the lower bound."""
        found = weighing.weigh(
            case(), [action("lucky"), action("steady")], {("lucky", 1): record(1, 1), ("steady", 1): record(45, 50)}
        )
        assert [one.name for one in found] == ["steady", "lucky"]

    def test_evidence_of_an_earlier_text_does_not_count(self):
        """An action that does something else since is proven anew."""
        found = weighing.weigh(case(), [action(proven_since=2, version=2)], {("retry", 1): record(30, 30)})
        assert (found[0].tried, found[0].bound) == (0, 0.0)

    def test_cooling_goes_last(self):
        """What was done a moment ago is not suggested while anything else fits."""
        found = weighing.weigh(case(cooling=frozenset({"heavy"})), [action("heavy", weight=0.9), action("light")], {})
        assert [one.name for one in found] == ["light", "heavy"]

    def test_copy_is_frozen(self):
        """What is weighed is a copy of the template."""
        template = action(parameters={"seconds": 1})
        found = weighing.weigh(case(), [template], {})[0]
        template.parameters["seconds"] = 99
        assert found.parameters == {"seconds": 1}
