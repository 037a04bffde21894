"""The topology: from what is declared, defined and seen; each call is counted once; blast radii by their rule."""

import json
from datetime import timedelta
from xml.etree import ElementTree as ET

import networkx as nx
import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st

from execution import events, runs, services, tasks, topology
from execution.exceptions import NodeUnknown, NotPossible
from execution.models import Agent, Assessment, CycleState, EventReader, ObservedCall
from execution.services import Declaration
from execution.topology import observed, pictures, snapshots
from execution.topology.graph import OBSERVED, Topology
from execution.workflows import Definition, Step
from tests import hands as hand
from tests import topology_skills as skills
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS

pytestmark = MARKS

SERVICES = {
    "payments": Declaration(tier="critical", dependencies={"ledger": {}}),
    "mail": Declaration(tier="low"),
    "ledger": Declaration(tier="critical", dependencies={"storage": {}}),
    "storage": Declaration(),
}


def graph_of(edges, critical=()):
    """Return a topology of these edges."""
    graph = nx.DiGraph()
    for name in {one for edge in edges for one in edge} | set(critical):
        graph.add_node(name, kind="service", tier="critical" if name in critical else "", owner="", is_known=True)
    graph.add_edges_from(edges, sources={OBSERVED}, call_count=1, last_seen_at=None)
    return Topology(graph)


def seen():
    """Return what was seen, and how often."""
    return {(one.caller, one.callee): one.call_count for one in ObservedCall.objects.all()}


def play(hands, run):
    """Perform a run and its children to their end."""
    for _ in range(6):
        step = hands.perform(run)
        for child in runs.Run.objects.filter(parent_run_id=run.id, state="pending"):
            hands.perform(child)
        if step.state in ("completed", "failed"):
            return
        hand.make_due(run)
    raise AssertionError(step.state)


class TestGraph:
    """Where nodes and edges come from."""

    def test_sources_are_told(self, transactional_db):
        """A declared, a defined and a seen edge are in one graph, each with its source."""
        services.declare_all(SERVICES)
        now = timezone.now()
        ObservedCall.objects.create(
            caller="agent:scout", callee="skill:map.charge", call_count=7, first_seen_at=now, last_seen_at=now
        )
        definition = Definition(
            name="checkout",
            steps={"pay": Step(skill="map.charge", on_failure={"fallback": "map.log"}), "sub": Step(workflow="other")},
        )
        found = topology.build([definition]).graph
        assert found.edges["skill:map.charge", "service:payments"]["sources"] == {"declared"}
        assert found.edges["service:payments", "service:ledger"]["sources"] == {"declared"}
        assert found.edges["skill:map.notify", "skill:map.log"]["sources"] == {"declared"}
        assert found.edges["agent:scout", "skill:map.charge"]["call_count"] == 7
        assert set(found.successors("workflow:checkout")) == {"skill:map.charge", "skill:map.log", "workflow:other"}
        assert found.nodes["service:mail-archive"]["is_known"] is False
        assert found.nodes["service:payments"]["tier"] == "critical"

    def test_shipped_workflows_are_known(self, transactional_db):
        """Without definitions of one's own those that are shipped are taken."""
        assert "workflow:inspect" in topology.build().graph

    @pytest.mark.parametrize(
        ("count", "critical", "radius"),
        [(0, 0, "low"), (2, 0, "low"), (3, 0, "medium"), (1, 1, "medium"), (5, 0, "medium"), (6, 0, "high"),
         (9, 1, "high"), (10, 0, "critical"), (2, 2, "critical"), (40, 0, "critical")],
    )  # fmt: skip
    def test_blast_radius_by_its_rule(self, count, critical, radius):
        """Two critical or ten dependants: critical; six: high; three or one critical: medium; else low."""
        names = [f"service:n{number}" for number in range(count)]
        chained = [*zip(names, ["service:x", *names], strict=False)]  # a chain: what depends on a dependant depends too
        found = graph_of(chained or [("service:x", "service:y")], critical=names[:critical])
        assert found.radius("service:x") == found.blast("x").radius == radius
        assert len(found.blast("service:x").dependants) == count

    @given(
        st.lists(st.tuples(st.integers(0, 14), st.integers(0, 14)), min_size=1, max_size=40),
        st.sets(st.integers(0, 14)),
    )
    def test_radius_agrees_with_the_whole_search(self, pairs, critical):
        """The search that ends early says what the whole one says, in graphs with circles too; a node is none of its own dependants."""
        found = graph_of([(f"s:{a}", f"s:{b}") for a, b in pairs], critical={f"s:{one}" for one in critical})
        for name in found.graph:
            whole = found.blast(name)
            assert found.radius(name) == whole.radius
            assert set(whole.dependants) == nx.ancestors(found.graph, name) - {name}
        ET.fromstring(pictures.svg(found))  # noqa: S314 - our own picture

    def test_path_and_names(self, transactional_db):
        """A path leads from what needs to what is needed; names are found by their short form, or the nearest is told."""
        services.declare_all(SERVICES)
        found = topology.build([])
        assert found.path("map.charge", "storage") == [
            "skill:map.charge", "service:payments", "service:ledger", "service:storage"
        ]  # fmt: skip
        with pytest.raises(NotPossible, match="does not depend on"):
            found.path("storage", "payments")
        with pytest.raises(NodeUnknown, match="did you mean 'payments'"):
            found.node("paymnts")
        assert found.around(["storage"], hops=2) == {"service:storage", "service:ledger", "service:payments"}
        double = graph_of([("skill:a", "service:a")])
        with pytest.raises(NotPossible, match="service:a, skill:a"):
            double.node("a")

    def test_digest_is_of_the_shape(self):
        """How often an edge was seen makes no difference; an edge more does."""
        one, same, other = (
            graph_of([("a:a", "a:b")]),
            graph_of([("a:a", "a:b")]),
            graph_of([("a:a", "a:b"), ("a:b", "a:c")]),
        )
        same.graph.edges["a:a", "a:b"]["call_count"] = 9
        assert one.digest == same.digest != other.digest


class TestObserved:
    """Calls are counted once each, from the log."""

    def test_calls_are_seen(self, hands):
        """Agent to skill, skill to skill, and skill to the services that its effects reach."""
        Agent.objects.create(name="scout")
        play(hands, skills.order.start(agent="scout"))
        play(hands, skills.notify.start())
        observed.fold()
        assert seen() == {
            ("agent:scout", "skill:map.order"): 1,
            ("agent:scout", "skill:map.charge"): 1,
            ("skill:map.order", "skill:map.charge"): 1,
            ("skill:map.charge", "service:payments"): 1,
            ("agent:default", "skill:map.notify"): 1,
            ("skill:map.notify", "service:mail"): 1,
            ("skill:map.notify", "service:mail-archive"): 1,
        }

    def test_each_call_counts_once(self, hands, monkeypatch):
        """A fold that dies counts nothing; the next counts all; a third counts nothing again; attempts after the first do not count."""
        run = skills.log.start()
        hands.lose(hands.take(run))
        for _ in range(2):
            play(hands, skills.log.start())
        play(hands, run)
        with monkeypatch.context() as broken:
            broken.setattr(events.EventReader, "save", _die)
            with pytest.raises(RuntimeError):
                observed.fold()
        assert seen() == {}
        observed.fold()
        assert seen() == {("agent:default", "skill:map.log"): 3}
        assert observed.fold() == 0
        play(hands, skills.log.start())
        assert hand.side_by_side(*[observed.fold] * 4)
        assert seen() == {("agent:default", "skill:map.log"): 4}

    def test_steps_of_a_workflow(self, hands):
        """A step of a larger run is called by its workflow."""
        run, (step, _) = hand.graph([[], [0]])
        hands.perform(step)
        observed.fold()
        assert seen()[("workflow:by hand", "skill:tests.add")] == 1
        assert run.workflow == "by hand"

    def test_pass_is_bounded(self, hands, monkeypatch):
        """A pass reads so many batches and leaves the rest to the next."""
        monkeypatch.setattr(observed, "_BATCH", 2)
        monkeypatch.setattr(observed, "_BATCHES", 1)
        for _ in range(3):
            play(hands, skills.log.start())
        counts = [observed.fold() for _ in range(20)]
        assert max(counts) == 2
        assert seen() == {("agent:default", "skill:map.log"): 3}

    def test_with_real_workers(self, workers, eventually):
        """What real workers perform is seen."""
        workers(skills="tests.topology_skills")
        run = skills.order.start()
        eventually(lambda: runs.get(run.id).state == "completed")
        observed.fold()
        assert seen()[("skill:map.order", "skill:map.charge")] == 1
        assert EventReader.objects.get(pk=observed.READER).cursor


def _die(*_, **__):
    raise RuntimeError


class TestSnapshots:
    """The shape of a moment is kept."""

    def test_same_shape_is_one_snapshot(self, hands):
        """A new snapshot is taken where the shape has changed, and not where only counts have."""
        first = topology.take([])
        assert topology.take([]).id == first.id
        play(hands, skills.log.start())
        observed.fold()
        second = topology.take([])
        play(hands, skills.log.start())
        observed.fold()
        assert topology.take([]).id == second.id != first.id
        assert topology.latest().data["digest"] == second.data["digest"] == topology.build([]).digest

    def test_every_node_has_its_radius(self, transactional_db):
        """A snapshot tells how much stands to fail with each node."""
        shop = Declaration(tier="critical", dependencies={"ledger": {}})
        services.declare_all({"ledger": Declaration(), "shop": shop})
        found = {one["node"]: one["radius"] for one in topology.take([]).data["nodes"]}
        assert (found["service:ledger"], found["service:shop"]) == ("medium", "low")

    def test_cycle(self, transactional_db, monkeypatch):
        """It takes a snapshot at first, when a definition has changed, and once a day."""
        taken = []
        monkeypatch.setattr(snapshots, "take", taken.append)

        def tick():
            CycleState.objects.update(ticked_at=timezone.now() - timedelta(hours=1))
            tasks.refresh_topology()
            return len(taken)

        assert [tick(), tick()] == [1, 1]
        changed = [Definition(name="new", steps={"a": Step(skill="map.log")})]
        monkeypatch.setattr(snapshots, "known_definitions", lambda: changed)
        assert [tick(), tick()] == [2, 2]
        state = CycleState.objects.get(pk="execution.refresh_topology")
        assert state.last_error == ""
        state.state["taken_at"] = (timezone.now() - timedelta(hours=25)).isoformat()
        state.save()
        assert tick() == 3


class TestPictures:
    """The pictures hold every node and edge."""

    EDGES = (
        ("agent:a", "skill:b"),
        ("skill:b", "service:c"),
        ("service:c", "service:d"),
        ("service:d", "service:c"),
        ("workflow:w", "skill:b"),
    )

    def test_mermaid_and_dot(self):
        """Each node and each edge stands there once, whatever its name."""
        found = graph_of([*self.EDGES, ('skill:q"]\\', "skill:b")])
        for text, arrow in ((pictures.mermaid(found), "-.->"), (pictures.dot(found), " -> ")):
            assert text.count(arrow) == 6
        assert "q#34;#93;#92;" in pictures.mermaid(found)
        assert '"skill:q\\"]\\\\"' in pictures.dot(found)

    def test_svg_with_a_circle(self):
        """The picture is XML, and a circle does not hinder it."""
        root = ET.fromstring(pictures.svg(graph_of(self.EDGES)))  # noqa: S314 - our own picture
        titles = {one.text for one in root.iter("{http://www.w3.org/2000/svg}title")}
        assert titles >= {"agent:a", "service:d", "workflow:w"}
        assert len([one for one in root.iter("{http://www.w3.org/2000/svg}path") if one.get("class") == "a"]) == 5


def test_command(transactional_db, tmp_path):
    """The graph is shown, asked and exported from the command line."""
    services.declare_all(SERVICES)
    assert "service:payments" in typed("topology", "show", "--kind", "service")
    assert document("topology", "blast", "ledger")["critical"] == ["service:payments"]
    assert "medium" in typed("topology", "blast", "ledger")
    assert typed("topology", "path", "map.charge", "ledger") == "skill:map.charge → service:payments → service:ledger"
    assert "did you mean" in refused("topology", "blast", "legder")
    assert "does not depend" in refused("topology", "path", "ledger", "map.charge")
    for format_, start in (("mermaid", "flowchart"), ("dot", "digraph"), ("svg", "<svg"), ("json", "{")):
        out = tmp_path / format_
        typed("topology", "export", "--format", format_, "--output", out)
        assert out.read_text().startswith(start)
    assert json.loads((tmp_path / "json").read_text())["digest"] == document("topology", "refresh")["digest"]
    assert document("topology", "show")["blast_radius"]["service:mail"] == "low"
    assert Assessment.objects.count() == 1
