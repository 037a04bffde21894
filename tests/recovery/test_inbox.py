"""Incidents in the inbox: shown once, as what they are, and decided there."""

import pytest

from execution.room.inbox import deciding, reading
from execution.room.inbox.deciding import Word
from execution.room.inbox.parts import sources
from execution.room.inbox.reading import Wish
from tests.hands import MARKS
from tests.recovery import incident_stage as stage
from tests.recovery.incident_stage import clean_slate  # noqa: F401 - a fixture
from tests.recovery.test_incident_pages import waiting  # noqa: F401 - a fixture

pytestmark = [*MARKS, pytest.mark.usefixtures("clean_slate")]


def test_plan_is_an_incident_and_no_approval(waiting):  # noqa: F811 - the fixture
    """The gate of an incident's run is shown once, with the plan; who approves it lets the remediation be done."""
    incident, hands = waiting
    (matter,) = reading.listing(sources(), Wish()).matters
    assert (matter.kind, matter.key, reading.count(sources())) == ("incident", str(incident.pk), 1)
    assert "retry-all 6 runs" in matter.source.evidence(matter.row).facts["Plan"]
    word = Word(decision="approve", by="ann", reason="it is back")
    first, second = (deciding.decide("incident", [matter.key], word)[0] for _ in range(2))
    assert (first.is_done, second.is_done, "ann was faster" in second.text) == (True, False, True)
    stage.play(hands, incident.run_id)
    stage.watch()
    incident.refresh_from_db()
    assert incident.state == "resolved"


@pytest.mark.parametrize(("decision", "state"), [("refuse", "failed"), ("close", "closed")])
def test_refuse_and_close(waiting, decision, state):  # noqa: F811 - the fixture
    """Refused, a person goes on; closed, it is over."""
    incident, hands = waiting
    word = Word(decision=decision, by="ann", reason="by hand")
    assert deciding.decide("incident", [str(incident.pk)], word)[0].is_done
    stage.play(hands, incident.run_id)
    stage.watch()
    incident.refresh_from_db()
    assert incident.state == state
