"""Objectives: read from OpenSLO files, each mistake told at its place; twice the same; every change an event."""

import re
from pathlib import Path

import pytest

from execution import services
from execution.exceptions import OptionInvalid
from execution.models import Event, Service
from graduation import objectives
from graduation.exceptions import ObjectivesInvalid, ObjectiveUnknown
from graduation.models import Bucket, Objective, ObjectiveState
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS

pytestmark = MARKS

DATA = Path(__file__).parent.parent / "data" / "openslo"
SLO = """\
apiVersion: openslo/v1
kind: SLO
metadata: {name: one}
spec:
  service: payments
  indicator:
    spec:
      ratioMetric:
        good: {metricSource: {type: celeriac, spec: {}}}
        total: {metricSource: {type: celeriac, spec: {of: "skill:a.b"}}}
  objectives: [{target: 0.99}]
"""


@pytest.fixture
def file(tmp_path, transactional_db):
    """Write an OpenSLO file, and return its path."""

    def write(text, name="slo.yaml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return write


def told(kind="objective.declared"):
    """Return what the log says of objectives, in order."""
    return list(Event.objects.filter(kind=kind).order_by("id").values_list("data", flat=True))


def wrong(file, text):
    """Return what is wrong with a file, without the file's name."""
    path = file(text)
    with pytest.raises(ObjectivesInvalid) as caught:
        objectives.import_([path], by="ann")
    return [str(one).removeprefix(f"{path}:") for one in caught.value.findings]


class TestReading:
    def test_ledger(self, file):
        """Ratios, thresholds and judgments of the ledger become objectives with an indicator each."""
        found = objectives.read([DATA / "ledger.yaml"]).objectives
        assert found["charges-succeed"].indicator["good"] == ["completed"]
        assert found["charges-succeed"].indicator["counted"] == ["completed", "failed", "crashed"]
        assert found["charges-are-quick"].indicator["threshold"] == {"op": "lt", "value": 2.0}
        assert (found["charges-are-quick"].target, found["charges-are-quick"].period_days) == (0.95, 28)
        assert (found["scout-is-right"].origin, found["scout-is-right"].subject) == ("verdicts", "agent:scout")
        assert found["charges-succeed"].subject == "skill:tests.add"

    def test_prometheus(self):
        """Queries, the address of their DataSource, the calendar and the slices are kept; each target is an objective."""
        found = objectives.read([DATA / "prometheus.yaml"]).objectives
        assert set(found) == {"front-page-answers-1", "front-page-answers-2"}
        one = found["front-page-answers-1"]
        assert one.indicator == {
            "url": "http://127.0.0.1:9090",
            "bad": 'sum(requests_total{code=~"5.."})',
            "total": "sum(requests_total)",
            "is_counter": True,
        }
        assert one.calendar == {"start": "2026-01-01 00:00:00", "zone": "Europe/Vienna", "count": 1, "unit": "M"}
        assert (one.slices, found["front-page-answers-2"].slices["minutes"]) == ({"minutes": 5, "target": 0.95}, 5)

    def test_all_that_the_specification_knows(self, file):
        """Other sources, composite objectives and alert policies load; what nobody can ask is not enabled."""
        changes, notes = objectives.import_([DATA / "elsewhere.yaml"], by="ann")
        assert len(changes) == 4
        assert "AlertPolicy is left out" in str(notes[0])
        assert set(Objective.objects.values_list("origin", "is_enabled")) == {("other", False)}
        with pytest.raises(OptionInvalid, match="'elsewhere', which nothing here can ask"):
            objectives.enable("pages-load", by="ann")

    @pytest.mark.parametrize(
        ("old", "new", "said"),
        [
            ("kind: SLO", "kind: SLOO", "2:7: kind: is 'SLOO', not one of SLO, SLI"),
            (
                "service: payments",
                "servce: payments",
                "5:3: spec.servce: there is no field 'servce'; did you mean 'serv",
            ),
            ("target: 0.99", "targt: 0.99", "11:17: spec.objectives[0].targt: there is no field 'targt'; did you mean"),
            ("target: 0.99", "target: 99", "11:25: spec.objectives[0].target: is 99, and has to be less than 1"),
            ("[{target: 0.99}]", "[{displayName: x}]", "spec.objectives[0]: has to have one of 'target' and"),
            ("[{target: 0.99}]", "[]", "spec.objectives: is empty"),
            ("of:", "off:", "metricSource.spec.off: there is no field 'off'; did you mean 'of'"),
            ("skill:a.b", "skil:a.b", "did you mean 'skill'"),
            ("spec: {}", "spec: {endings: complete}", "attempts do not end 'complete'; did you mean 'completed'"),
            ("spec: {}", "spec: {endings: lost}", "names 'lost', which the total does not count"),
            ("spec: {}", "spec: {count: runs}", "is 'runs', and of the total 'attempts'"),
            ("type: celeriac, spec: {}", "type: prometheus, spec: {}", "comes from 'prometheus', and the total from"),
            ("type: celeriac, spec: {}", "spec: {}", "needs 'type', or 'metricSourceRef'"),
            ("total:", "bad:", "has to have 'total' with one of 'good' and 'bad'"),
            ("ratioMetric", "rationMetric", "there is no field 'rationMetric'; did you mean 'ratioMetric'"),
            ("openslo/v1", "openslo/v2", "apiVersion: is 'openslo/v2', not one of openslo/v1"),
            ("apiVersion: openslo/v1\n", "", "'apiVersion' is missing"),
            (
                "service: payments",
                "service: payments\n  timeWindow: [{duration: 4x}]",
                "is '4x'; write a number and one",
            ),
            (
                "service: payments",
                "service: payments\n  timeWindow: [{duration: 1M, calendar: {startTime: 2026-01-01 00:00:00, timeZone: Europe/Viena}}]",
                "there is no time zone 'Europe/Viena'; did you mean 'Europe/Vienna'",
            ),
            ("service: payments", "service: payments\n  budgetingMethod: Timeslices", "needs 'timeSliceWindow'"),
        ],
    )
    def test_mistakes(self, file, old, new, said):
        """Each mistake is told with its line, its field, and the nearest name."""
        assert old in SLO
        found = wrong(file, SLO.replace(old, new))
        assert any(said in one for one in found), found
        assert not Objective.objects.exists()

    def test_second_document(self, file):
        """Lines count from the beginning of the file, also in a later document; the same name twice is told."""
        found = wrong(file, f"{SLO}---\n{SLO}")
        [said] = found
        assert said.startswith("15:18: metadata.name: there is another SLO 'one' at ")
        assert said.endswith("slo.yaml:3")
        assert "26:1: this is no YAML" in wrong(file, f"{SLO}---\n{SLO}---\nnot: [closed")[0]

    def test_reference_to_nothing(self, file):
        """A name that no document has is told with the nearest one."""
        text = SLO.replace("kind: SLO", "kind: SLO").partition("  indicator:")[0]
        text += "  indicatorRef: chargs\n  objectives: [{target: 0.9}]\n---\n"
        text += "apiVersion: openslo/v1\nkind: SLI\nmetadata: {name: charges}\nspec:\n  thresholdMetric:\n"
        text += "    metricSource: {type: celeriac, spec: {measure: seconds}}\n"
        assert "there is no SLI 'chargs' in these files; did you mean 'charges'?" in wrong(file, text)[0]
        assert "a thresholdMetric needs 'op' and 'value'" in wrong(file, text.replace("chargs", "charges"))[0]


class TestImport:
    def test_twice(self, transactional_db):
        """The first import declares, the second changes nothing and says nothing to the log."""
        first, _ = objectives.import_([DATA / "ledger.yaml"], by="ann")
        assert [str(one) for one in first] == [
            "charges-are-quick is new", "charges-succeed is new", "scout-is-right is new"
        ]  # fmt: skip
        assert Service.objects.get().description == "Takes money."
        before = list(Objective.objects.order_by("name").values())
        again, _ = objectives.import_([DATA / "ledger.yaml"], by="bob")
        assert {str(one).partition(" is ")[2] for one in again} == {"the same"}
        assert list(Objective.objects.order_by("name").values()) == before
        assert [(one["objective"], one["by"]) for one in told()] == [(one.objective, "ann") for one in first]

    def test_change_of_the_target_keeps_counts(self, file):
        """Another target is told by its field; what was counted stays, and whether it is enabled too."""
        objectives.import_([file(SLO)], by="ann")
        Bucket.objects.create(objective_id="one", minute="2026-01-01T00:00Z", good=1, total=2)
        objectives.disable("one", by="ann", reason="noisy")
        [change] = objectives.import_([file(SLO.replace("0.99", "0.9"))], by="bob")[0]
        assert str(change) == "one has changed: target"
        assert (Bucket.objects.count(), Objective.objects.get().is_enabled) == (1, False)
        assert told()[-1] == {
            "objective": "one", "by": "bob", "is_new": False, "fields": ["target"], "is_counted_anew": False
        }  # fmt: skip

    def test_change_of_what_is_counted_begins_anew(self, file):
        """Counts of two different things are never added up."""
        objectives.import_([file(SLO)], by="ann")
        Bucket.objects.create(objective_id="one", minute="2026-01-01T00:00Z", good=1, total=2)
        [change] = objectives.import_([file(SLO.replace("a.b", "a.c"))], by="ann")[0]
        assert str(change) == "one has changed: indicator, subject; counting begins anew" or change.is_counted_anew
        assert not Bucket.objects.exists()

    def test_known_service_is_left_as_it_is(self, transactional_db):
        """What a service was declared with is better than an OpenSLO file's description."""
        declared = services.Declaration.model_validate({"tier": "critical", "description": "mine"})
        services.declare("payments", declared)
        objectives.import_([DATA / "ledger.yaml"], by="ann")
        assert Service.objects.get().description == "mine"

    def test_switched_and_removed(self, file):
        """Each change says who and why; a name that is not there suggests the nearest."""
        objectives.import_([file(SLO)], by="ann")
        objectives.disable("one", by="bob", reason="too noisy")
        objectives.disable("one", by="bob", reason="again")
        objectives.enable("one", by="ann", reason="mended")
        objectives.remove("one", by="ann", reason="gone")
        assert told("objective.disabled") == [{"objective": "one", "by": "bob", "reason": "too noisy"}]
        assert len(told("objective.enabled")) == len(told("objective.removed")) == 1
        assert not ObjectiveState.objects.exists()
        objectives.import_([file(SLO)], by="ann")
        with pytest.raises(ObjectiveUnknown, match="there is no objective 'onee'; did you mean 'one'"):
            objectives.get("onee")


class TestCommand:
    def test_import_and_look(self, transactional_db):
        """The command imports, tells what that changes, and shows objectives with their burn rates."""
        assert "nothing was written" in typed("objectives", "import", DATA, "--dry-run")
        assert not Objective.objects.exists()
        assert "charges-succeed is new" in typed("objectives", "import", DATA / "ledger.yaml", "--by", "ann")
        assert document("objectives", "import", DATA / "ledger.yaml")["changes"][0]["is_new"] is False
        rows = {one["name"]: one for one in document("objectives", "list")["objectives"]}
        assert rows["charges-succeed"]["standing"] == "no_data"
        assert "never" in typed("objectives", "list", "--service", "payments")
        assert "burns nothing long" in typed("objectives", "show", "charges-succeed")
        assert len(document("objectives", "show", "charges-succeed")["burns"]) == 4
        assert "disabled" in typed("objectives", "disable", "charges-succeed", "--reason", "x")
        assert "removed" in typed("objectives", "remove", "charges-succeed")
        assert "did you mean" in refused("objectives", "show", "charges-are-quik")

    def test_mistakes_are_lines(self, file):
        """What is wrong stands at its place, and nothing is written."""
        path = file(SLO.replace("target", "targt"))
        assert f"{path}:11:17: spec.objectives[0].targt" in refused("objectives", "import", path)


def test_error_holds_its_findings():
    """The error has the findings one by one, and says them all."""
    error = ObjectivesInvalid(["a", "b"])
    assert (error.findings, str(error)) == (("a", "b"), "the objectives are not right:\na\nb")


def test_page_shows_files_that_load(file):
    """The file on the page is read without a finding."""
    page = (DATA.parent.parent.parent / "docs" / "objectives.md").read_text()
    [text] = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    found = objectives.read([file(text)])
    assert (set(found.objectives), found.notes) == ({"charges-succeed", "charges-are-quick"}, [])
