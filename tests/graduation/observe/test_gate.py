"""The gate on rows: what it says, who froze and overrode it and why, and a real deployment that it stops."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone

from execution import services
from execution.exceptions import OptionInvalid
from execution.models import Assessment, Event
from graduation import objectives
from graduation.models import Freeze, GateCall, Objective, ObjectiveState, Override
from graduation.observe import gate
from graduation.observe.gate import APPROVED, BLOCKED, WARNING
from recovery.exceptions import AlreadyDecided, NotFound
from tests.execution.test_commands import document, refused, typed
from tests.hands import MARKS
from tests.workers import test_environment as environment

pytestmark = MARKS

DATA = Path(__file__).parent.parent.parent / "data" / "openslo"
HOUR = timedelta(hours=1)
UNKNOWN = {"critical": BLOCKED, "standard": WARNING, "low": WARNING}


@pytest.fixture
def declared(transactional_db):
    """Declare the objectives of a service, all collected now with their whole budget left."""
    objectives.import_([DATA / "ledger.yaml"], by="ann")
    well()


def well(name=None, **fields):
    """Let objectives stand well now, but for some fields."""
    rows = ObjectiveState.objects.filter(**({"pk": name} if name else {}))
    fresh = {"standing": "healthy", "consumed": 0.0, "collected_at": timezone.now(), "data_at": timezone.now()}
    rows.update(**fresh | fields)


class TestRows:
    def test_worst_decides(self, declared):
        """One exhausted objective among healthy ones blocks, however good the mean is; the answer names it."""
        well("charges-are-quick", standing="exhausted", consumed=1.5)
        found = gate.ask("payments", by="ann")
        assert (found.answer, found.worst) == (BLOCKED, "charges-are-quick")
        assert found.reason == "charges-are-quick has 0% of its budget left"

    @pytest.mark.parametrize(
        ("fields", "said"),
        [
            ({"collected_at": timezone.now() - timedelta(days=1)}, "has stale data"),
            ({"data_at": timezone.now() - timedelta(days=1)}, "has stale data"),
            ({"standing": "no_data", "consumed": None}, "has no data"),
            ({"standing": "error", "error": "it burns"}, "could not be collected: it burns"),
            ({"collected_at": None}, "has never been collected"),
        ],
    )
    def test_unknown_is_inconclusive(self, declared, fields, said):
        """What is not known blocks a critical service, and warns of another; it says what and why."""
        well("charges-succeed", **fields)
        for tier, answer in UNKNOWN.items():
            found = gate.ask("payments", tier=tier)
            assert found.answer == answer
            assert found.reason.startswith(f"inconclusive: charges-succeed {said}")

    def test_five_minutes_are_not_stale(self, declared):
        """Data of four minutes ago is good enough, of six minutes it is not."""
        well("charges-succeed", data_at=timezone.now() - timedelta(minutes=4))
        assert gate.ask("payments").answer == APPROVED
        well("charges-succeed", data_at=timezone.now() - timedelta(minutes=6))
        assert gate.ask("payments").answer == WARNING

    def test_disabled_decides_nothing(self, declared):
        """An objective that is disabled is not asked; with none left the gate is inconclusive."""
        well("charges-succeed", consumed=2.0)
        objectives.disable("charges-succeed", by="ann")
        assert gate.ask("payments").answer == APPROVED
        Objective.objects.update(is_enabled=False)
        assert "no objective that is enabled" in gate.ask("payments").reason

    def test_tier_of_the_declaration(self, declared):
        """Unless it is given, the tier is the declared one."""
        services.declare("payments", services.Declaration.model_validate({"tier": "critical"}))
        well("charges-succeed", consumed=0.95)
        assert gate.ask("payments").answer == BLOCKED
        assert gate.ask("payments", tier="low").answer == WARNING

    def test_every_call_is_kept(self, declared):
        """A call leaves a row and an assessment with the evidence."""
        found = gate.ask("payments", commit="abc1234", by="pipeline")
        call = GateCall.objects.get()
        kept = Assessment.objects.get(pk=call.assessment_id)
        assert (call.answer, call.commit, call.by, found.assessment) == (APPROVED, "abc1234", "pipeline", kept.pk)
        assert (kept.kind, kept.subject) == ("deploy_gate", "service:payments")
        assert {one["objective"] for one in kept.data["objectives"]} == set(
            Objective.objects.values_list("name", flat=True)
        )

    def test_marginal_judgments_warn(self, declared):
        """An objective of which too little is known to be sure warns, and does not block."""
        well("scout-is-right", standing="warning", consumed=3.0)
        assert gate.ask("payments", tier="critical").answer == WARNING


class TestFreezes:
    def test_freeze_blocks_until_it_is_over(self, declared):
        """A freeze of one service leaves others; one of all does not; it ends by its time or by a person."""
        gate.freeze("other", by="ann", reason="theirs")
        assert gate.ask("payments").answer == APPROVED
        row = gate.freeze("", by="ann", reason="holidays", until=timezone.now() + HOUR)
        found = gate.ask("payments")
        assert (found.answer, found.freeze) == (BLOCKED, row.pk)
        assert "frozen by ann" in found.reason
        Freeze.objects.filter(pk=row.pk).update(until=timezone.now() - HOUR)
        assert gate.ask("payments").answer == APPROVED
        lasting = gate.freeze("payments", by="ann", reason="audit")
        assert gate.ask("payments").answer == BLOCKED
        gate.lift(lasting, by="bob", reason="done")
        assert gate.ask("payments").answer == APPROVED
        with pytest.raises(AlreadyDecided, match="lifted by bob"):
            gate.lift(lasting, by="ann")
        told = list(Event.objects.filter(kind__startswith="gate.").order_by("id").values_list("kind", flat=True))
        assert told == ["gate.frozen", "gate.frozen", "gate.frozen", "gate.lifted"]

    def test_override_is_for_one_commit_and_a_time(self, declared):
        """An override lets its commit through with a warning that says who and why, also through a freeze."""
        well("charges-succeed", consumed=2.0)
        gate.freeze("payments", by="ann", reason="audit")
        until = timezone.now() + HOUR
        row = gate.override("payments", by="bob", reason="mends the outage", commit="abc1234", until=until)
        assert gate.ask("payments", commit="fff0000").answer == BLOCKED
        assert gate.ask("payments").answer == BLOCKED
        found = gate.ask("payments", commit="abc1234def")
        assert (found.answer, found.override) == (WARNING, row.pk)
        assert "overridden by bob" in found.reason
        assert "else blocked: deployments are frozen by ann: audit" in found.reason
        Override.objects.update(until=timezone.now() - HOUR)
        assert gate.ask("payments", commit="abc1234").answer == BLOCKED

    def test_who_why_and_until_are_asked(self, declared):
        """Without a person, a reason or a time to come nothing is written."""
        later = timezone.now() + HOUR
        for refusal in (
            lambda: gate.freeze("payments", by="ann", reason=" "),
            lambda: gate.freeze("payments", by="", reason="x"),
            lambda: gate.override("payments", by="ann", reason="", until=later),
            lambda: gate.override("payments", by="ann", reason="x", until=timezone.now() - HOUR),
        ):
            with pytest.raises(OptionInvalid):
                refusal()
        with pytest.raises(NotFound, match="there is no freeze 77"):
            gate.lift(77, by="ann")
        assert not Freeze.objects.exists()

    def test_command(self, declared):
        """The command freezes, lists, lifts and overrides."""
        assert typed("freezes", "list") == "nothing is frozen, and nothing is overridden"
        row = document("freezes", "freeze", "--until", "8h", "--reason", "holidays", "--by", "ann")
        typed("freezes", "override", "--service", "payments", "--until", "1h", "--reason", "fix", "--by", "bob")
        assert {one["kind"] for one in document("freezes", "list")["rows"]} == {"freeze", "override"}
        assert "every" in typed("freezes", "list")
        assert "lifted" in typed("freezes", "lift", row["id"], "--by", "ann")
        assert "say who and why" in refused("freezes", "freeze")


class TestPipeline:
    @pytest.fixture
    def deploy(self, tmp_path):
        """Return a real deployment: a shell script that deploys after the gate, as a pipeline runs it."""
        mark = tmp_path / "deployed"
        script = tmp_path / "deploy.sh"
        script.write_text(f'set -eu\n{sys.executable} manage.py gate "$@"\necho deployed > {mark}\n')

        def run(*given, **more):
            mark.unlink(missing_ok=True)
            done = subprocess.run(
                ["sh", str(script), *given],
                env=os.environ | environment() | more,
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            return done.returncode, mark.exists(), done

        return run

    def test_gate_stops_a_real_deployment(self, declared, deploy):
        """The script goes on after an approval, and stops with 2 after a no: nothing is deployed."""
        assert deploy("--service", "payments", "--commit", "abc1234")[:2] == (0, True)
        well("charges-succeed", consumed=1.2, standing="exhausted")
        code, is_deployed, done = deploy("--service", "payments")
        assert (code, is_deployed) == (2, False), done.stderr
        assert done.stdout.startswith("blocked: charges-succeed has 0% of its budget left")

    def test_what_cannot_be_evaluated_is_one(self, declared, deploy):
        """A service that nobody knows, a mistyped option and a database that is away end with 1, and deploy nothing."""
        assert deploy("--service", "paymnts")[:2] == (1, False)
        assert deploy("--servic", "payments", "--x")[:2] == (1, False)
        assert deploy("--service", "payments", DATABASE_URL="postgres://nobody@127.0.0.1:9/none")[:2] == (1, False)

    def test_document(self, declared):
        """With --json it is one document."""
        found = document("gate", "--service", "payments", "--tier", "critical")
        assert (found["answer"], found["exit_code"], found["tier"]) == ("approved", 0, "critical")
        assert "did you mean 'payments'" in refused("gate", "--service", "paymnts")
