"""Exports: one row and one object a night, whichever storage it is and whatever breaks on the way."""

import errno
import gzip
import hashlib
import json
from datetime import date, timedelta

import pytest
from django.core.files.storage import FileSystemStorage
from django.core.management import CommandError
from django.db import transaction
from django.utils import timezone

from execution.doctor import examine
from execution.exceptions import NotJson
from execution.models import Event
from recovery import exports, kept, uploads
from recovery.exceptions import ExportDamaged, ExportLost, NotFound
from recovery.models import ExportState, FailurePatternExport
from tests.execution.test_commands import typed as said
from tests.hands import side_by_side
from tests.recovery.conftest import send_to
from tests.recovery.object_store import BUCKET

pytestmark = [pytest.mark.django_db(transaction=True)]

NIGHT = date(2026, 3, 9)
LINES = [{"pattern": "timeout in fetch", "count": 12}, {"pattern": "no such key", "count": 3, "cost": "0.50"}]


def objects(folder):
    """Return the names of all objects in the local storage."""
    return sorted(str(path.relative_to(folder)) for path in (folder / "failure_patterns").rglob("*") if path.is_file())


def kinds(export):
    """Return what the log says of an export."""
    rows = Event.objects.filter(kind__startswith="export.", data__object=export.name)
    return list(rows.order_by("id").values_list("kind", flat=True))


class TestNight:
    def test_goes_to_the_folder(self, folder):
        """Without a setting the object and its manifest stand in the local folder, verified, and the row tells of them."""
        export = exports.export_night(NIGHT, LINES)
        raw = (folder / export.name).read_bytes()
        assert export.state == ExportState.UPLOADED
        assert [json.loads(line) for line in gzip.decompress(raw).splitlines()] == LINES
        assert export.digest == hashlib.sha256(raw).hexdigest()
        assert (export.size, export.line_count, export.attempt_count) == (len(raw), 2, 1)
        assert export.name.startswith("failure_patterns/2026/03/09/candidates_2")
        assert export.name.endswith(f"_{export.digest[:12]}.jsonl.gz")
        about = json.loads((folder / uploads.manifest_name(export)).read_text())
        assert (about["sha256"], about["line_count"], about["object"]) == (export.digest, 2, export.name)
        assert kinds(export) == ["export.kept", "export.uploaded"]

    def test_same_lines_are_same_bytes(self, folder):
        """The order of keys and the time of day change no byte."""
        first = kept.write(NIGHT, LINES)
        second = kept.write(NIGHT, [dict(reversed(line.items())) for line in LINES])
        assert first == second

    def test_twice_changes_nothing(self, folder):
        """A second call returns the first one's row, though it found other lines."""
        first = exports.export_night(NIGHT, LINES)
        again = exports.export_night(NIGHT, [{"other": 1}])
        assert (again.pk, again.digest, again.uploaded_at) == (first.pk, first.digest, first.uploaded_at)
        assert len(objects(folder)) == 2

    def test_side_by_side_is_one(self, folder):
        """Four that export the same night at once leave one row and one object."""
        side_by_side(*[lambda n=n: exports.export_night(NIGHT, [*LINES, {"by": n}]) for n in range(4)])
        export = FailurePatternExport.objects.get()
        exports.verify(uploads.upload(export))
        assert len(objects(folder)) == 2

    def test_of_nothing(self, folder):
        """A night without any line is exported, and so is the next one, whose bytes are the same."""
        first, second = (exports.export_night(NIGHT + timedelta(days=days), []) for days in range(2))
        assert first.digest == second.digest
        assert {first.state, second.state} == {ExportState.UPLOADED}

    def test_in_a_transaction_waits(self, folder):
        """Nothing goes up inside a transaction; the next pass does it."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        assert export.state == ExportState.PENDING_UPLOAD
        assert uploads.UPLOADS.run() == 1
        assert exports.verify(exports.get("2026-03-09")).verified_at

    def test_lost_bytes_are_made_again(self, folder):
        """A row whose bytes are gone takes those of the next call, under its own name, and is still the only one."""
        with transaction.atomic():
            lost = exports.export_night(NIGHT, LINES)
        kept.path_of(lost).unlink()
        export = exports.export_night(NIGHT, [*LINES, {"later": 1}])
        assert (export.pk, export.line_count, export.state) == (lost.pk, 3, ExportState.UPLOADED)
        assert export.digest[:12] in export.name

    def test_what_is_not_json_is_refused(self, folder):
        """A line that JSON cannot hold is named by its number, and nothing is left behind."""
        with pytest.raises(NotJson, match="line 2 of an export"):
            exports.export_night(NIGHT, [{"a": 1}, {"b": float("nan")}])
        assert not FailurePatternExport.objects.exists()
        assert list((folder / "kept").iterdir()) == []


class TestTrouble:
    def test_pauses_grow_and_end(self, bucket, monkeypatch):
        """Five tries with pauses of one to ten seconds; then the row waits and says why in words."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        bucket.break_next(*["500"] * 5)
        made = []
        monkeypatch.setattr(uploads, "SHORTEST_PAUSE_SECONDS", 1.0)
        export = uploads.upload(export, pause=made.append)
        assert made == [1.0, 2.0, 4.0, 8.0]
        assert (export.state, export.attempt_count, export.failure_count) == (ExportState.PENDING_UPLOAD, 5, 5)
        assert "answered 500 (InternalError)" in export.last_error
        assert bucket.names() == []
        assert uploads.upload_pending() == 1
        assert exports.totals() == exports.Totals(bytes=export.size, attempts=6, failures=5)
        assert kinds(export) == ["export.kept", "export.delayed", "export.uploaded"]

    @pytest.mark.parametrize("fault", ["500", "hang", "cut", "truncate", "flip", "lose the answer"])
    def test_fault_is_outlived(self, bucket, fault):
        """One request that breaks costs one try; what is there in the end is whole."""
        bucket.break_next(fault)
        export = exports.export_night(NIGHT, LINES)
        assert (export.state, export.attempt_count, export.failure_count) == (ExportState.UPLOADED, 2, 1)
        assert hashlib.sha256(bucket.read(export.name)).hexdigest() == export.digest
        assert bucket.names() == sorted([export.name, uploads.manifest_name(export)])

    def test_what_arrived_is_not_sent_again(self, bucket):
        """An object whose answer was lost is found to be whole by a HEAD."""
        bucket.break_next("lose the answer")
        exports.export_night(NIGHT, LINES)
        assert bucket.count("PUT") == 2, "the object and its manifest"

    def test_bucket_that_is_gone(self, bucket):
        """The row and the doctor say that there is no bucket; once it is made the export goes up."""
        bucket.direct.delete_bucket(Bucket=BUCKET)
        export = exports.export_night(NIGHT, LINES)
        assert "the bucket 'exports' at http://127.0.0.1" in export.last_error
        assert "is not there: make it" in export.last_error
        assert "is not there: make it" in found("exports.uploaded").text
        assert "is not there: make it" in found("exports.storage").text
        bucket.make_bucket()
        assert found("exports.storage").level == "ok"
        assert uploads.upload_pending() == 1
        assert found("exports.uploaded").level == "ok"

    def test_wrong_credentials(self, bucket, settings):
        """Refused credentials are named as such, and never shown."""
        bucket.refused_keys = {"bad-key"}
        send_to(settings, bucket, access_key="bad-key", secret_key="hunter2")
        export = exports.export_night(NIGHT, LINES)
        assert "refuses the credentials" in export.last_error
        assert "hunter2" not in export.last_error
        assert "refuses the credentials" in found("exports.storage").text

    def test_server_that_is_away(self, bucket):
        """A server that nobody can reach is a sentence as well."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        bucket.close()
        assert "cannot be reached" in uploads.upload(export).last_error

    def test_setting_that_names_no_storage(self, folder, settings):
        """A wrong name is answered with the nearest one, in the row and by the doctor, after one try."""
        settings.STORAGES = settings.STORAGES | {"exports": settings.STORAGES["default"]}
        settings.CELERIAC = settings.CELERIAC | {"exports": "export"}
        export = exports.export_night(NIGHT, LINES)
        assert "did you mean 'exports'?" in export.last_error
        assert export.attempt_count == 1
        assert found("exports.storage").level == "error"

    def test_extra_that_is_missing(self, folder, settings):
        """A storage whose package is not installed is named with the extra that brings it."""
        settings.STORAGES = settings.STORAGES | {"exports": {"BACKEND": "nowhere.to.be.Found"}}
        settings.CELERIAC = settings.CELERIAC | {"exports": "exports"}
        assert "is the extra `exports` installed?" in exports.export_night(NIGHT, LINES).last_error

    def test_disk_that_is_full(self, folder, monkeypatch):
        """A disk that takes nothing more is a sentence in the row, and tried again."""

        def full(*_, **__):
            raise OSError(errno.ENOSPC, "No space left on device", "the object")

        with monkeypatch.context() as patch:
            patch.setattr(FileSystemStorage, "_save", full)
            export = exports.export_night(NIGHT, LINES)
        assert export.last_error == "the object cannot be used: No space left on device"
        assert uploads.upload_pending() == 1

    def test_folder_that_cannot_be_made(self, settings, tmp_path):
        """The doctor tells of a folder in which nothing can be kept."""
        (tmp_path / "file").touch()
        settings.CELERIAC = settings.CELERIAC | {"exports_folder": str(tmp_path / "file" / "exports")}
        assert found("exports.folder").level == "error"

    def test_damaged_bytes_never_go_up(self, bucket):
        """Bytes that changed on the disk are not sent; a further call of the night makes them again."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        kept.path_of(export).write_bytes(b"something else")
        assert "are damaged" in uploads.upload(export).last_error
        assert bucket.names() == []
        assert exports.export_night(NIGHT, LINES).state == ExportState.UPLOADED

    def test_kept_on_another_host(self, bucket):
        """What another host keeps is left to it; when it has kept it for an hour, a further call makes the bytes anew."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        kept.path_of(export).unlink()
        FailurePatternExport.objects.update(kept_on="elsewhere")
        assert uploads.upload_pending() == 0
        assert exports.export_night(NIGHT, [*LINES, {}]).state == ExportState.PENDING_UPLOAD
        assert "elsewhere" in found("exports.uploaded").text
        FailurePatternExport.objects.update(created_at=timezone.now() - timedelta(hours=2))
        assert exports.export_night(NIGHT, [*LINES, {}]).line_count == 3

    def test_lost_after_it_arrived(self, bucket):
        """Bytes that were lost after the object had arrived make no second object, nor do they while nobody can tell."""
        whole = exports.export_night(NIGHT, LINES)
        kept.path_of(whole).unlink()
        waiting = FailurePatternExport.objects.filter(pk=whole.pk)
        waiting.update(state=ExportState.PENDING_UPLOAD, uploaded_at=None)
        bucket.break_next(*["500"] * 6, method="HEAD")
        assert exports.export_night(NIGHT, [*LINES, {}]).state == ExportState.PENDING_UPLOAD
        bucket.faults.clear()
        export = exports.export_night(NIGHT, [*LINES, {}])
        assert (export.name, export.state) == (whole.name, ExportState.UPLOADED)
        assert len(bucket.names()) == 2

    def test_claimed_row_is_left_alone(self, folder):
        """A row that somebody uploads is theirs until their lease ends; the late one's word is refused."""
        with transaction.atomic():
            export = exports.export_night(NIGHT, LINES)
        assert uploads._claim(export)
        late = FailurePatternExport.objects.get()
        assert uploads.upload(FailurePatternExport.objects.get()).state == ExportState.PENDING_UPLOAD
        FailurePatternExport.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        assert uploads.upload(FailurePatternExport.objects.get()).state == ExportState.UPLOADED
        with pytest.raises(uploads.Late):
            uploads._finish(late)


class TestVerify:
    def test_object_that_was_changed(self, bucket):
        """A changed object is found, told of, and put right by an upload of the kept bytes."""
        export = exports.export_night(NIGHT, LINES)
        bucket.direct.put_object(Bucket=BUCKET, Key=export.name, Body=b"x" * export.size)
        with pytest.raises(ExportDamaged, match="its hash is"):
            exports.verify(export)
        export.refresh_from_db()
        assert "is damaged" in export.last_error
        assert exports.verify(uploads.upload(export, again=True)).last_error == ""
        assert kinds(export)[-2:] == ["export.damaged", "export.uploaded"]

    def test_object_that_is_gone(self, bucket):
        """A missing object is named as such; without kept bytes it cannot be uploaded again, and the row stays as it is."""
        export = exports.export_night(NIGHT, LINES)
        bucket.direct.delete_object(Bucket=BUCKET, Key=export.name)
        with pytest.raises(ExportDamaged, match="is not in the storage"):
            exports.verify(export)
        kept.path_of(export).unlink()
        with pytest.raises(ExportLost, match="are not on this host"):
            uploads.upload(export, again=True)
        export.refresh_from_db()
        assert export.state == ExportState.UPLOADED

    def test_download_is_whole_or_nothing(self, bucket, tmp_path):
        """A download that is cut for good leaves no file; one that is cut once goes on, and is verified."""
        export = exports.export_night(NIGHT, [{"line": n, "text": "x" * 100} for n in range(1000)])
        path = tmp_path / "got.gz"
        bucket.break_next(*["cut the answer"] * 6, method="GET")
        with pytest.raises(ExportDamaged, match="cannot be read"):
            exports.download(export, path)
        assert not path.exists()
        assert hashlib.sha256(exports.download(export, path).read_bytes()).hexdigest() == export.digest
        assert list(tmp_path.glob("*.partial")) == []


class TestSweep:
    def test_removes_what_is_old(self, folder):
        """Kept bytes leave after their days; what waits for its upload never does."""
        import os

        done = exports.export_night(NIGHT, LINES)
        with transaction.atomic():
            waiting = exports.export_night(NIGHT + timedelta(days=1), LINES)
        (folder / "kept" / "tmp123.partial").touch()
        long_ago = timezone.now().timestamp() - 40 * 86400
        for path in (folder / "kept").iterdir():
            os.utime(path, (long_ago, long_ago))
        assert kept.sweep() == 2
        assert (kept.is_here(done), kept.is_here(waiting)) == (False, True)


class TestCommand:
    def test_whole_way(self, bucket, tmp_path):
        """List, show, verify, download and upload say what they did; a damaged object ends with an error."""
        export = exports.export_night(NIGHT, LINES)
        assert "uploaded" in said("exports", "list")
        assert json.loads(said("exports", "list", "--json"))["totals"] == {
            "bytes": export.size,
            "attempts": 1,
            "failures": 0,
        }
        assert json.loads(said("exports", "show", "2026-03-09", "--json"))["digest"] == export.digest
        assert "as it was exported" in said("exports", "verify")
        assert "2 lines" in said("exports", "download", export.digest[:12], "--to", str(tmp_path / "got"))
        assert said("exports", "upload") == "0 uploaded, 0 waiting"
        bucket.direct.put_object(Bucket=BUCKET, Key=export.name, Body=b"x")
        with pytest.raises(CommandError, match="1 export of 1 not as exported"):
            said("exports", "verify", "2026-03-09")
        assert "is uploaded and verified" in said("exports", "upload", "2026-03-09", "--again")
        with pytest.raises(CommandError, match="there is no export '2020-01-01'"):
            said("exports", "show", "2020-01-01")

    def test_names(self, folder):
        """A part of a name that fits two exports is refused."""
        for days in range(2):
            exports.export_night(NIGHT + timedelta(days=days), LINES)
        with pytest.raises(NotFound, match="more than one"):
            exports.get("failure_patterns")


def found(name):
    """Return the doctor's finding of this id."""
    return next(one for one in examine() if one.id == name)
