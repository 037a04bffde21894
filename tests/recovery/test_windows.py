"""Windows: the same occurrences make the same windows, whatever the order in which they arrive."""

import uuid
from datetime import UTC, datetime, timedelta

import networkx as nx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from execution.topology.graph import Topology
from recovery.models import Occurrence
from recovery.neighbourhood import Neighbourhood
from recovery.windows import Fold, Limits

START = datetime(2030, 1, 1, tzinfo=UTC)
LIMITS = Limits(gap=timedelta(seconds=60), most=timedelta(minutes=15), late=timedelta(seconds=30))
BREACH = "verdict.quality_breach"


def topology_of(*edges, tiers=None):
    """Return a topology of these edges, each from what needs to what is needed."""
    graph = nx.DiGraph()
    for name in {one for edge in edges for one in edge}:
        graph.add_node(name, kind=name.partition(":")[0], tier=(tiers or {}).get(name, ""), owner="", is_known=True)
    graph.add_edges_from(edges, sources={"declared"}, call_count=1, last_seen_at=None)
    return Topology(graph)


# A line of eight: each is within two hops of its neighbours and theirs.
LINE = Neighbourhood(topology_of(*[(f"skill:s{n}", f"skill:s{n + 1}") for n in range(8)]), hops=2)


def occurred(seconds, node="skill:s0", kind="step.failed", severity="low", number=None, **more):
    """Return what happened so many seconds after the start."""
    key = uuid.UUID(int=number if number is not None else int(seconds * 1000) + 1)
    return Occurrence(
        id=key, at=START + timedelta(seconds=seconds), kind=kind, nodes=[node], severity=severity,
        record_id=key if kind.startswith("verdict.") else None, data=more,
    )  # fmt: skip


def folded(arrivals, passes=(), near=LINE.near):
    """Fold what arrives (each with its moment) by passes at these moments, as the cycle does; return all windows."""
    fold, waiting = Fold([], near=near, limits=LIMITS), []
    left = sorted(arrivals, key=lambda one: (one[0], one[1].id))
    for clock in [*sorted(passes), START + timedelta(days=1)]:
        waiting += [one for moment, one in left if moment <= clock]
        left = [pair for pair in left if pair[0] > clock]
        watermark = clock - LIMITS.late
        for one in sorted((one for one in waiting if one.at <= watermark), key=lambda one: (one.at, one.id)):
            fold.add(one)
        waiting = [one for one in waiting if one.at > watermark]
        fold.close(watermark)
        fold.open = [_copy(window) for window in fold.open]
    assert not waiting
    assert not fold.open
    return sorted(map(said, fold.closed), key=str)


def _copy(window):
    """Return a window as the next pass reads it from its row."""
    fields = ("id", "services", "started_at", "last_at", "breach_at", "counts", "severity", "verdicts", "details")
    return type(window)(**{name: getattr(window, name) for name in fields})


def said(window):
    """Return everything a window says but its id."""
    return (
        window.started_at, window.last_at, window.closed_at, tuple(window.services), window.counts, str(window.severity),
        window.verdicts, window.details,
    )  # fmt: skip


def punctual(*found):
    """Let each arrive at its own moment."""
    return [(one.at, one) for one in found]


def spans(windows):
    """Return when each window began and ended, in seconds."""
    return [((one[0] - START).total_seconds(), (one[2] - START).total_seconds()) for one in windows]


@st.composite
def stories(draw):
    """Draw what happens, each with a delay of up to thirty seconds, and the moments of the passes."""
    count = draw(st.integers(1, 25))
    at = 0.0
    found = []
    for number in range(count):
        at += draw(st.sampled_from([0, 1, 5, 20, 40, 59.9, 60, 61, 200]))
        found.append(_drawn(draw, at, number))
    delays = draw(st.lists(st.floats(0, 30), min_size=count, max_size=count))
    passes = draw(st.lists(st.integers(0, int(at) + 120), max_size=20))
    return found, delays, [START + timedelta(seconds=one) for one in passes]


def _drawn(draw, at, number):
    kind = draw(st.sampled_from(["step.failed", "run.failed", BREACH]))
    severity = draw(st.sampled_from(["low", "high", "critical"]))
    node = f"skill:s{draw(st.integers(0, 8))}"
    return occurred(at, node, kind, severity, number + 1, skill="s", type="E", message=f"m{number % 3}")


@settings(max_examples=300, deadline=None)
@given(stories())
def test_any_order_within_the_lateness_gives_the_same_windows(story):
    """However late each comes within thirty seconds, and whenever passes look, the windows are those of the right order."""
    found, delays, passes = story
    arrivals = [(one.at + timedelta(seconds=delay), one) for one, delay in zip(found, delays, strict=True)]
    windows = folded(arrivals, passes)
    assert windows == folded(punctual(*found))
    assert sum(sum(one[4].values()) for one in windows) == len(found)


def test_gap_closes():
    """What comes sixty seconds after the last is another window; a second sooner it is the same."""
    assert spans(folded(punctual(occurred(0), occurred(59), occurred(119)))) == [(0, 119), (119, 179)]


def test_fifteen_minutes_are_the_most():
    """Trouble that does not end is told in parts of fifteen minutes."""
    windows = folded(punctual(*[occurred(seconds) for seconds in range(0, 1000, 20)]))
    assert spans(windows) == [(0, 900), (900, 1040)]


def test_breach_closes_a_gap_after():
    """A breach ends its window sixty seconds later, although more happens; what follows is another."""
    found = [*[occurred(seconds) for seconds in range(0, 121, 20)], occurred(50, kind=BREACH)]
    assert spans(folded(punctual(*found))) == [(0, 110), (120, 180)]


def test_far_apart_are_two_windows():
    """Two hops are one window, three are two; at the same moment."""
    assert len(folded(punctual(occurred(0, "skill:s0"), occurred(1, "skill:s2")))) == 1
    assert len(folded(punctual(occurred(0, "skill:s0"), occurred(1, "skill:s3")))) == 2


def test_event_connects_two_windows():
    """Two windows become one by what happens between them, with everything that they had."""
    windows = folded(
        punctual(
            occurred(0, "skill:s0", BREACH, "critical"),
            occurred(10, "skill:s4", "run.failed"),
            occurred(20, "skill:s2"),
        )
    )
    assert len(windows) == 1
    _, _, closed, services, counts, severity, verdicts, _ = windows[0]
    assert services == ("skill:s0", "skill:s2", "skill:s4")
    assert (counts, severity) == ({BREACH: 1, "run.failed": 1, "step.failed": 1}, "critical")
    assert (closed, len(verdicts)) == (START + timedelta(seconds=60), 1)


@pytest.mark.parametrize(("late", "count"), [(29, 1), (31, 2)])
def test_late_event_belongs_up_to_thirty_seconds(late, count):
    """What comes thirty seconds late belongs to its window; what comes later is not lost, but may have one of its own."""
    arrivals = [(START, occurred(0)), (START + timedelta(seconds=59.5 + late), occurred(59.5))]
    windows = folded(arrivals, [START + timedelta(seconds=90.2)])
    assert sum(sum(one[4].values()) for one in windows) == 2
    assert len(windows) == count


def test_topology_decides_what_is_first():
    """What is needed stands before what needs it, then the earliest; what needs each other in a circle stands together."""
    edges = [
        ("skill:order", "skill:charge"),
        ("skill:charge", "service:payments"),
        ("service:payments", "service:ledger"),
    ]
    around = Neighbourhood(topology_of(*edges), hops=2)
    first = {"skill:order": "1", "skill:charge": "2", "service:payments": "3", "skill:strange": "0"}
    assert around.causal(first) == ["service:payments", "skill:charge", "skill:order", "skill:strange"]
    circle = Neighbourhood(
        topology_of(("service:a", "service:b"), ("service:b", "service:a"), ("skill:x", "service:a"))
    )
    assert circle.causal({"service:a": "2", "service:b": "1", "skill:x": "0"}) == ["service:b", "service:a", "skill:x"]


def test_default_agent_connects_nothing():
    """Skills that are near each other only because nobody in particular performs both are not near."""
    edges = [
        ("agent:default", "skill:a"),
        ("agent:default", "skill:b"),
        ("agent:scout", "skill:b"),
        ("agent:scout", "skill:c"),
    ]
    around = Neighbourhood(topology_of(*edges), hops=2)
    assert around.near(["skill:a"]) == {"skill:a"}
    assert around.near(["skill:b"]) == {"skill:b", "skill:c", "agent:scout"}


def test_tier_counts_for_who_calls():
    """A skill counts as its service; a node that nobody knows has no tier and is near itself."""
    around = Neighbourhood(topology_of(("skill:charge", "service:payments"), tiers={"service:payments": "critical"}))
    assert around.tiers(["skill:charge"]) == {"critical"}
    assert (around.tiers(["skill:other"]), around.near(["skill:other"])) == (set(), {"skill:other"})
