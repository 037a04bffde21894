"""Flows 6 to 9: candidates are claimed by one, decided once, by a consistent template, and never without provenance."""

import contextlib
import threading
import uuid

from django.db import DatabaseError, connections, transaction
from django.utils import timezone

from execution import ledger
from execution.models import Event, Run, Step
from recovery import candidates, decisions, evaluator, playbook
from recovery.models import RecoveryCandidate, SuggestionAction, SuggestionProvenance
from tests.flows import processes
from tests.hands import side_by_side
from tests.recovery import failed


def _evaluating(stage, how, number=1):
    """Start an evaluator that stops on its way."""
    folder = stage.folder / "evaluating"
    folder.mkdir(exist_ok=True)
    log = stage.folder / f"{how}-{number}.log"
    return stage.keep(processes.Process(("tests.flows.evaluating", how, str(folder)), log=log)), folder


def _leases_end():
    """Let every lease be over."""
    RecoveryCandidate.objects.filter(state="open").update(lease_until=timezone.now())


def _count(kind, found):
    """Count the events of this kind about the runs of candidates."""
    return Event.objects.filter(kind=kind, run_id__in=[one.run_id for one in found]).count()


def _trusted_kind(count):
    """Open candidates of a kind that is applied alone."""
    failed.unlock()
    failed.proven(recovered=50, tried=50)
    found = failed.opened(count, pattern=failed.known_pattern())
    for one in found:
        Step.objects.filter(pk=one.step_id).update(attempt_id=one.failure.attempt_id)
    return found


def killed_claimers(stage):
    """6: one claimer is killed and one frozen, each with fifty rows; a third shares none, and all come back."""
    found = failed.opened(120)
    first, folder = _evaluating(stage, "claimed", 1)
    second, _ = _evaluating(stage, "claimed", 2)
    lists = stage.eventually(
        lambda: len(list(folder.glob("*-claims"))) == 2 and list(folder.glob("*-claims")), timeout=30
    )
    held = [uuid.UUID(line) for claims in lists for line in claims.read_text().split()]
    assert len(held) == len(set(held)) == 100
    assert {one.id for one in candidates.claim(by="third", limit=200)}.isdisjoint(held)

    first.kill()
    second.freeze()
    assert candidates.claim(by="fourth") == [], "what is held is held, whoever has died"
    _leases_end()
    while evaluator.evaluate_next(source="claim", by="fourth"):
        pass
    assert set(failed.states(*found)) == {"waiting"}
    (folder / "go").touch()
    second.wake()
    stage.eventually((folder / "claimed-late").exists, timeout=30, message="who comes late learns it")
    assert _count("candidate.evaluated", found) == SuggestionProvenance.objects.count() == 120
    assert set(RecoveryCandidate.objects.values_list("claimed_by", flat=True)) == {"fourth"}


def evaluated_twice(stage):
    """7: an evaluator is frozen before it writes, another takes over; eight race: each is decided once, applied once."""
    found = _trusted_kind(20)
    frozen, folder = _evaluating(stage, "weighed")
    stage.eventually((folder / "weighed-here").exists, timeout=30)
    frozen.freeze()
    _leases_end()
    wanted = [one.id for one in found]
    side_by_side(*(lambda n=n: _evaluated(wanted, f"racer-{n}") for n in range(8)))
    stage.eventually(lambda: set(failed.states(*found)) == {"applied"}, message="all are applied alone")
    (folder / "go").touch()
    frozen.wake()
    stage.eventually((folder / "weighed-late").exists, timeout=30, message="the frozen one is refused")
    decisions.apply_due()
    for kind in ("candidate.evaluated", "candidate.approved", "candidate.applied", "run.retried"):
        assert _count(kind, found) == 20, kind
    for stage_name in ("evaluated", "decided", "applied"):
        assert SuggestionProvenance.objects.filter(stage=stage_name).count() == 20


def _evaluated(wanted, by):
    evaluator.evaluate_ids(wanted, source="stream", by=by)


def edited_template(stage):
    """8: a template changes between the look and the write: the record holds the old one whole, and is not applied alone."""
    seen = _trusted_kind(1)[0]
    _, folder = _evaluating(stage, "weighed")
    stage.eventually((folder / "weighed-here").exists, timeout=30)
    playbook.change("retry", by="ann", parameters={"seconds": 31})
    (folder / "go").touch()
    stage.eventually((folder / "weighed-done").exists, timeout=30)
    seen.refresh_from_db()
    assert (seen.state, seen.action_version, seen.parameters) == ("waiting", 1, {"seconds": 30})
    assert "was changed while it was weighed" in seen.needs

    found = failed.opened(60, kind="e" * 40)
    is_over = threading.Event()
    editor = threading.Thread(target=_edit, args=(is_over,), daemon=True)
    editor.start()
    for one in found:
        evaluator.evaluate_ids([one.id], source="claim", by="tests")
    is_over.set()
    editor.join(10)
    rows = RecoveryCandidate.objects.filter(pk__in=[one.pk for one in found])
    versions = {one.action_version for one in rows}
    assert len(versions) > 3, "it was edited while it was evaluated"
    for one in rows:
        assert one.parameters == {"seconds": 29 + one.action_version}, "version and text are of the same moment"
        line = one.provenance.get()
        assert (line.action_version, line.inputs["parameters"]) == (one.action_version, one.parameters)


def _edit(is_over):
    """Change the template again and again: version and seconds rise together."""
    with contextlib.closing(connections["default"]):
        while not is_over.is_set():
            version = playbook.get("retry").version
            playbook.change("retry", by="ann", parameters={"seconds": 30 + version})


def no_decision_without_provenance(stage):
    """9: killed between the decision, its provenance and its action, or the audit is away: nothing was decided or done."""
    found = _trusted_kind(5)
    doomed, _ = _evaluating(stage, "written")
    stage.eventually(lambda: doomed.process.poll() is not None, timeout=30, message="it was killed")
    assert RecoveryCandidate.objects.filter(claim_count=1).count() == 5
    _assert_nothing(found, "open")
    _leases_end()
    with _audit_away():
        assert evaluator.evaluate_next(source="claim", by="tests") == 0
    _assert_nothing(found, "open")
    SuggestionAction.objects.filter(pk="retry").update(needs_approval=True)
    RecoveryCandidate.objects.update(lease_until=None)
    evaluator.evaluate_next(source="claim", by="tests")
    assert SuggestionProvenance.objects.count() == 5

    for verb in (decisions.approve, decisions.reject):
        with _audit_away():
            _refused(lambda verb=verb: verb(found[0].id, by="ann"))
        assert failed.states(found[0]) == ["waiting"]
    decisions.approve(found[0].id, by="ann")
    with _audit_away():
        _refused(lambda: decisions.apply(found[0].id, by="ann"))
        assert decisions.apply_due() == 0
    assert failed.states(found[0]) == ["approved"]
    assert Run.objects.get(pk=found[0].run_id).state == "failed"
    doomed, _ = _evaluating(stage, "applying")
    stage.eventually(lambda: doomed.process.poll() is not None, timeout=30, message="it was killed")
    assert (failed.states(found[0]), _count("run.retried", found)) == (["approved"], 0)
    assert decisions.apply_due() == 1
    assert _count("run.retried", found) == 1
    assert list(found[0].provenance.values_list("stage", flat=True)) == ["evaluated", "decided", "applied"]


def _assert_nothing(found, state):
    assert set(failed.states(*found)) == {state}
    assert not SuggestionProvenance.objects.exists()
    for kind in ("candidate.evaluated", "candidate.approved", "run.retried"):
        assert _count(kind, found) == 0, kind


@contextlib.contextmanager
def _audit_away():
    """Let the audit's table be gone for a while."""
    ledger.ask("ALTER TABLE recovery_suggestionprovenance RENAME TO audit_away")
    try:
        yield
    finally:
        ledger.ask("ALTER TABLE audit_away RENAME TO recovery_suggestionprovenance")


def _refused(decide):
    """Do what must fail, and leave nothing behind."""
    try:
        with transaction.atomic():
            decide()
    except DatabaseError:
        return
    raise AssertionError("it was decided without provenance")


STORIES = {6: killed_claimers, 7: evaluated_twice, 8: edited_template, 9: no_decision_without_provenance}
