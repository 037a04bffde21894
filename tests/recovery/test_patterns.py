"""Patterns: proposed each night from what came up often, judged by people, and matched by fingerprint, template or words."""

import json
import uuid
from datetime import date, timedelta
from decimal import Decimal

import pytest
from django.db import connection, transaction
from django.db.models.functions import Now
from django.utils import timezone

from execution.exceptions import OptionInvalid
from execution.models import CycleState, Event
from execution.schedule import Entry, install
from recovery import aggregation, candidates, failures, fingerprints, kept, patterns, schedule, templates
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import FailureMatch, FailureNight, FailurePattern, FailurePatternExport, RecoveryCandidate
from tests.hands import MARKS, side_by_side

pytestmark = MARKS
NIGHT = date(2025, 3, 1)
REAL = aggregation.exports.export_night


@pytest.fixture(autouse=True)
def exported(monkeypatch):
    """Stand in for the exports: keep what is handed over."""
    found = []
    monkeypatch.setattr(aggregation.exports, "export_night", lambda night, lines: found.append((night, list(lines))))
    return found


def failed(message="it broke", *, error_type="ShopError", skill="shop.place", frames=("shop.orders:place",), **more):
    """Write a failure as intake would, and match it."""
    (template,) = templates.of([message]) if message else (None,)
    is_by_message = not frames
    fingerprint = (
        fingerprints.of_message(error_type, template.digest)
        if is_by_message
        else fingerprints.of_stack(error_type, fingerprints.Stack(frames=frames), skill)
    )
    about = {
        "attempt_id": uuid.uuid4(), "step_id": uuid.uuid4(), "run_id": uuid.uuid4(), "agent_id": uuid.uuid4(),
        "skill": skill, "version": "1", "ending": "failed", "error_kind": "unknown", "error_type": error_type,
        "message": message, "fingerprint": fingerprint, "fingerprint_version": 1, "is_by_message": is_by_message,
        "template_id": template.id if template else None, "cost": Decimal("0.5"), "is_final": True,
        "failed_at": timezone.now(),
    }  # fmt: skip
    row = FailureMatch(**about | more)
    with transaction.atomic():
        patterns.match([row])
        row.save(force_insert=True)
        patterns.count([row])
    return row


def pattern_of(*rows):
    """Return the pattern that rows have by now."""
    (found,) = set(FailureMatch.objects.filter(pk__in=[row.pk for row in rows]).values_list("pattern", flat=True))
    return found and FailurePattern.objects.get(pk=found)


class TestAggregation:
    """What came up three times becomes one proposal; what did not waits."""

    def test_group_first_then_three(self, transactional_db):
        """Groups of three and more are proposed, whatever else failed; two are not."""
        thrice = [failed() for _ in range(3)]
        twice = [failed("it went wrong", frames=("shop.orders:pay",)) for _ in range(2)]
        night = aggregation.aggregate(NIGHT)
        found = pattern_of(*thrice)
        assert (night.proposed_count, pattern_of(*twice)) == (1, None)
        assert (found.state, found.count, found.cost, found.versions) == ("proposed", 3, Decimal("1.5"), ["1"])
        assert (found.first_seen_at, found.last_seen_at) == (thrice[0].failed_at, thrice[2].failed_at)
        assert (found.name, found.skill) == ("ShopError in shop.place: it broke", "shop.place")
        failed("it went wrong", frames=("shop.orders:pay",))
        aggregation.aggregate(NIGHT + timedelta(1))
        assert pattern_of(*twice).count == 3

    def test_event_and_line(self, transactional_db, exported):
        """Each proposal is an event, and a line of the night's export that JSON can hold."""
        for _ in range(3):
            failed("token sk-AbCd1234efgh5678 is bad")
        aggregation.aggregate(NIGHT)
        told = Event.objects.get(kind="pattern.proposed")
        assert (told.data["night"], told.data["count"], told.data["cost"]) == ("2025-03-01", 3, "1.500000")
        ((night, (line,)),) = exported
        assert (night, line["count"], line["category"]) == (NIGHT, 3, "permanent")
        assert "sk-AbCd" not in json.dumps(line)
        assert len(line["examples"]) == 3

    def test_night_twice(self, transactional_db, exported):
        """A night that was done changes nothing when it is run again, and its lines stay the same."""
        for _ in range(3):
            failed()
        first = aggregation.aggregate(NIGHT)
        for _ in range(3):
            failed(frames=("shop.orders:pay",))
            failed()
        again = aggregation.aggregate(NIGHT)
        assert (again.lines, again.proposed_count) == (first.lines, 1)
        assert FailurePattern.objects.count() == 1
        assert len(exported) == 1

    def test_night_that_found_nothing_is_looked_at_again(self, transactional_db, exported):
        """Whoever looks too early has not used the night up; the first that finds something is kept."""
        failed()
        assert aggregation.aggregate(NIGHT).lines == []
        rows = [failed() for _ in range(2)]
        night = aggregation.aggregate(NIGHT)
        assert (night.proposed_count, pattern_of(*rows).count) == (1, 3)
        assert exported == [(NIGHT, night.lines)]

    def test_night_to_come_is_refused(self, transactional_db):
        """A night that is done before it comes would be missed when it does."""
        with pytest.raises(OptionInvalid, match="still to come"):
            aggregation.aggregate(timezone.localdate() + timedelta(1))
        assert not FailureNight.objects.exists()

    def test_killed_before_the_export(self, transactional_db, exported, monkeypatch):
        """A night that was cut off before its export is exported later, with the lines that it had."""
        for _ in range(3):
            failed()
        with monkeypatch.context() as broken:
            broken.setattr(aggregation, "export", lambda _: 1 / 0)
            with pytest.raises(ZeroDivisionError):
                aggregation.aggregate(NIGHT)
        lines = FailureNight.objects.get().lines
        assert exported == []
        assert aggregation.export_pending() == 1
        assert exported == [(NIGHT, lines)]
        assert aggregation.export_pending() == 0

    def test_two_at_once(self, transactional_db, exported):
        """Two aggregations of a night at once make one."""
        for _ in range(3):
            failed()
        side_by_side(*[lambda: aggregation.aggregate(NIGHT)] * 3)
        assert (FailurePattern.objects.count(), FailureNight.objects.count()) == (1, 1)
        assert pattern_of(*FailureMatch.objects.all()).count == 3

    def test_taken_in_meanwhile(self, transactional_db):
        """A failure that was matched before its pattern was there is adopted the next night."""
        for _ in range(3):
            failed()
        aggregation.aggregate(NIGHT)
        late = failed()
        FailureMatch.objects.filter(pk=late.pk).update(pattern=None, how="none")
        FailurePattern.objects.update(count=3)
        night = aggregation.aggregate(NIGHT + timedelta(1))
        assert (night.adopted_count, night.proposed_count, pattern_of(late).count) == (1, 0, 4)

    def test_window(self, transactional_db):
        """What was taken in more than seven days ago is left alone."""
        rows = [failed() for _ in range(3)]
        FailureMatch.objects.update(created_at=Now() - timedelta(days=8))
        aggregation.aggregate(NIGHT)
        assert pattern_of(*rows) is None

    def test_rejected_is_not_proposed_again(self, transactional_db):
        """A pattern that was rejected is matched no more, and its failures are no proposal."""
        for _ in range(3):
            failed()
        aggregation.aggregate(NIGHT)
        patterns.reject(FailurePattern.objects.get(), by="ann")
        rows = [failed() for _ in range(4)]
        assert aggregation.aggregate(NIGHT + timedelta(1)).proposed_count == 0
        assert pattern_of(*rows) is None

    def test_merged_templates_are_one_group(self, transactional_db):
        """Messages whose templates were merged later are one pattern, and known by any of their fingerprints."""
        rows = [
            failed(f"login refused for {name}", frames=(), skill=name) for name in ("ann", "bob", "cy", "dee", "eve")
        ]
        aggregation.aggregate(NIGHT)
        found = pattern_of(*rows)
        assert (found.template, found.count, found.skill) == ("login refused for <any>", 5, "")
        assert failed("login refused for zoe", frames=()).pattern == found

    def test_pattern_outlives_a_merge(self, transactional_db):
        """A pattern of a template that was merged later is found by what it was merged into."""
        for _ in range(3):
            failed("login refused for bob", frames=())
        failed("login refused for ann", frames=())
        aggregation.aggregate(NIGHT)
        for name in ("cy", "dee", "eve"):
            failed(f"login refused for {name}", frames=())
        row = failed("login refused for zoe", frames=())
        assert (row.pattern, row.how) == (FailurePattern.objects.get(), "fingerprint")

    def test_open_candidates_learn_their_pattern(self, transactional_db):
        """A candidate that was opened before its pattern was proposed belongs to it afterwards."""
        rows = [failed() for _ in range(3)]
        candidates.open_for(rows)
        aggregation.aggregate(NIGHT)
        assert set(RecoveryCandidate.objects.values_list("pattern", flat=True)) == {pattern_of(*rows).pk}

    @pytest.mark.parametrize(
        ("message", "error_type", "kind", "category"),
        [
            ("boom", "ShopError", "transient", "transient"),
            ("access denied", "ShopError", "permanent", "permission"),
            ("worker died", "WorkerLost", "transient", "infrastructure"),
            ("connection refused by far side", "ConnectError", "transient", "infrastructure"),
            ("", "parked:budget", "resource", "resource"),
            ("not an order", "pydantic.ValidationError", "permanent", "validation"),
            ("the recorded token differs", "execution.exceptions.ReplayDiverged", "permanent", "planner"),
            ("boom", "ShopError", "permanent", "permanent"),
        ],
    )
    def test_category(self, message, error_type, kind, category):
        """The category follows from type, kind and words."""
        row = FailureMatch(message=message, error_type=error_type, error_kind=kind)
        assert aggregation.category_of([row]) == category

    def test_names_are_free(self, transactional_db):
        """Two groups whose names would be the same have two names."""
        for frame in ("a:b", "c:d"):
            for _ in range(3):
                failed(frames=(frame,), message="m")
            FailureMatch.objects.filter(pattern__isnull=True).update(pattern=None)
        FailurePattern.objects.all().delete()
        FailureMatch.objects.update(pattern=None, how="none")
        aggregation.aggregate(NIGHT)
        assert FailurePattern.objects.count() == 2

    def test_cycle(self, transactional_db):
        """The nightly cycle does today's night once; a second beat does nothing."""
        for _ in range(3):
            failed()
        assert aggregation.NIGHTLY.run() == 1
        assert aggregation.NIGHTLY.run() is None
        assert FailureNight.objects.get().night == timezone.localdate()
        assert aggregation.TIDY.run() == 0
        assert CycleState.objects.get(pk="recovery.aggregate").last_error == ""


class TestMatching:
    """Exact, then by template, then by words; the surer the more often it was right."""

    def proposed(self, **about):
        for _ in range(3):
            failed(**about)
        aggregation.aggregate(NIGHT)
        return FailurePattern.objects.get()

    def test_template(self, transactional_db):
        """The same message from other frames of the same skill matches by its template, less sure."""
        found = self.proposed(message="order 7 has no lines at all")
        row = failed("order 8 has no lines at all", frames=("shop.other:place",))
        assert (row.pattern, row.how, row.confidence) == (found, "template", round(0.95 / 2, 4))
        assert failed("order 8 has no lines at all", frames=("a:b",), skill="other").pattern is None
        assert failed("order 8 has no lines at all", frames=("a:b",), error_type="Other").pattern is None

    def test_similar_words(self, transactional_db):
        """Nearly the same words match by similarity; words that say that something else happened do not."""
        found = self.proposed(message="shipment of order 7 to the far warehouse was refused by customs")
        row = failed("shipment of order 7 to the near warehouse was refused by customs", frames=("a:b",))
        assert (row.pattern, row.how) == (found, "similarity")
        assert 0.7 * 0.95 / 2 <= row.confidence < 0.95 / 2
        assert (
            failed("shipment of order 7 to the far warehouse was accepted by customs", frames=("a:c",)).pattern is None
        )
        assert failed("nothing alike", frames=("a:d",)).pattern is None

    def test_confidence_decays(self, transactional_db, settings):
        """Confirmations make a match surer, and count half after a half-life."""
        found = self.proposed()
        now = timezone.now()
        found.confirmed_count, found.confirmed_at = 8, now
        assert patterns.confidence(found, 1.0, now) == pytest.approx(0.95 * 9 / 10)
        assert patterns.confidence(found, 1.0, now + timedelta(days=30)) == pytest.approx(0.95 * 5 / 6)
        assert patterns.confidence(found, 0.8, now + timedelta(days=3650)) == pytest.approx(0.95 * 0.8 / 2)

    def test_confirmed_match(self, transactional_db):
        """A match that was right makes its pattern surer, and says so."""
        found = self.proposed()
        row = failed()
        patterns.confirm_match(row, by="ann", reason="seen before")
        found.refresh_from_db()
        assert (found.confirmed_count, found.confirmed_at is not None, found.state) == (1, True, "proposed")
        assert Event.objects.get(kind="pattern.match_confirmed").data["failure"] == str(row.id)
        with pytest.raises(NotFound, match="matched none"):
            patterns.confirm_match(failed("else", frames=("q:r",)), by="ann")


class TestJudging:
    """What people say of a pattern is guarded, told and refused where it makes no sense."""

    @pytest.fixture
    def found(self, transactional_db):
        for _ in range(3):
            failed(error_kind="transient")
        aggregation.aggregate(NIGHT)
        return FailurePattern.objects.get()

    def test_confirm(self, found):
        """A confirmed pattern has the mode that was suggested, and counts as confirmed once."""
        assert (found.mode, found.suggested_mode) == ("ask", "automatic")
        made = patterns.confirm(found, by="ann", reason="known")
        assert (made.state, made.mode, made.confirmed_count, made.changed_by) == ("confirmed", "automatic", 1, "ann")
        told = Event.objects.get(kind="pattern.confirmed").data
        assert (told["by"], told["reason"], told["before"]) == ("ann", "known", {"state": "proposed", "mode": "ask"})

    def test_confirm_with_a_mode(self, found):
        """Who confirms may choose the mode."""
        assert patterns.confirm(found.name, by="ann", mode="ignore").mode == "ignore"

    def test_reject_once(self, found):
        """A pattern is rejected once; the second learns it; who changes their mind confirms."""
        patterns.reject(found, by="ann")
        with pytest.raises(AlreadyDecided, match="nothing was changed"):
            patterns.reject(found, by="bob")
        assert patterns.confirm(found, by="ann").state == "confirmed"

    def test_change(self, found):
        """Category, mode and name are changed with who and why."""
        made = patterns.change(found, category="resource", mode="ask", name="shop is odd", by="ann", reason="better")
        assert (made.category, made.mode, made.suggested_mode, made.name) == ("resource", "ask", "ask", "shop is odd")
        assert Event.objects.get(kind="pattern.changed").data["before"]["category"] == "transient"

    @pytest.mark.parametrize(
        ("wish", "error", "words"),
        [
            (lambda one: patterns.change(one, by="a", category="resorce"), OptionInvalid, "did you mean 'resource'"),
            (lambda one: patterns.change(one, by="a", mode="x"), OptionInvalid, "automatic, ask, ignore"),
            (lambda one: patterns.change(one, by="a", name=""), OptionInvalid, "1 to 200"),
            (lambda one: patterns.change(one, by="a"), OptionInvalid, "say what"),
            (lambda one: patterns.confirm(one, by=""), OptionInvalid, "by is empty"),
            (lambda one: patterns.get("ShopError in shop.plce: it broke"), NotFound, "did you mean 'ShopError"),
            (lambda one: patterns.get("9" * 40), NotFound, "patterns list"),
        ],
    )
    def test_refused(self, found, wish, error, words):
        """Bad input says what is wrong, and the nearest right thing."""
        with pytest.raises(error, match=words):
            wish(found)

    def test_taken_name(self, found):
        """A name that another pattern has is refused."""
        other = FailurePattern.objects.create(name="b", category="permanent", fingerprint="f", fingerprint_version=1)
        with pytest.raises(OptionInvalid, match="already"):
            patterns.change(other, by="a", name=found.name)


class TestSchedule:
    """The night has an hour in beat's own table."""

    def test_crontab(self, transactional_db):
        """The aggregation is at two o'clock in the project's time zone; the others are intervals."""
        from django_celery_beat.models import PeriodicTask

        PeriodicTask.objects.filter(name__in=[entry.name for entry in schedule.SCHEDULE]).delete()
        assert install(schedule.SCHEDULE) == len(schedule.SCHEDULE)
        nightly = PeriodicTask.objects.get(name="celeriac: aggregate failures")
        assert (nightly.crontab.hour, nightly.crontab.minute, nightly.interval) == ("2", "0", None)
        assert PeriodicTask.objects.get(name="celeriac: take in failures").interval.every == 1
        assert install([Entry(name="celeriac: aggregate failures", task="x", at="03:00", description="")]) == 0


def test_real_export(transactional_db, folder, exported, monkeypatch):
    """What a night found is one object, of which every line is a pattern; done twice it stays one."""
    monkeypatch.setattr(aggregation.exports, "export_night", REAL)
    for _ in range(3):
        failed()
    for _ in range(2):
        FailureNight.objects.update(exported_at=None)
        night = aggregation.aggregate(NIGHT)
    export = FailurePatternExport.objects.get()
    assert (export.night, export.line_count, export.state) == (NIGHT, 1, "uploaded")
    assert night.exported_at is not None


@pytest.mark.parametrize("kept_on", ["", "a-host-that-is-gone"])
def test_export_whose_bytes_are_lost_is_made_anew(transactional_db, bucket, exported, monkeypatch, kept_on):
    """A night that waits for its upload for over an hour, and whose bytes nobody has any more, is exported all the same."""
    monkeypatch.setattr(aggregation.exports, "export_night", REAL)
    for _ in range(3):
        failed()
    bucket.break_next(*["500"] * 5)
    aggregation.aggregate(NIGHT)
    export = FailurePatternExport.objects.get()
    kept.path_of(export).unlink()
    FailurePatternExport.objects.update(kept_on=kept_on or kept.host())
    assert (aggregation.export_pending(), bucket.names()) == (0, [])
    FailurePatternExport.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert (aggregation.export_pending(), aggregation.export_pending()) == (1, 0)
    export.refresh_from_db()
    assert (export.state, export.line_count, export.digest[:12] in export.name) == ("uploaded", 1, True)
    assert len(bucket.names()) == 2, "the object and its manifest"


def test_export_that_only_waits_is_left_alone(transactional_db, bucket, exported, monkeypatch):
    """What is kept here, and what a storage that is away may have, is made by nobody a second time."""
    monkeypatch.setattr(aggregation.exports, "export_night", REAL)
    for _ in range(3):
        failed()
    bucket.break_next(*["500"] * 5)
    aggregation.aggregate(NIGHT)
    FailurePatternExport.objects.update(created_at=timezone.now() - timedelta(hours=2))
    assert aggregation.export_pending() == 0
    kept.path_of(FailurePatternExport.objects.get()).unlink()
    bucket.break_next(*["500"] * 6, method="HEAD")
    assert aggregation.export_pending() == 0


def test_intake_and_aggregation_do_not_block_each_other(transactional_db):
    """While a night is aggregated, a failure can be taken in."""
    for _ in range(3):
        failed()

    def night():
        with transaction.atomic():
            aggregation._aggregated(NIGHT)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_sleep(0.3)")

    side_by_side(night, lambda: failed("other things break", frames=("x:y",)))
    assert FailureMatch.objects.count() == 4
    assert failures.get(FailureMatch.objects.first().pk) is not None
