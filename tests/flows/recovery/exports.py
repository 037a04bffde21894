"""Exports: killed at every point, a bucket behind a wire that breaks, objects that change, and a Vault that goes away."""

import contextlib
import hashlib
import os
from datetime import date, timedelta
from unittest import mock

import pytest
from django.conf import settings
from django.test import override_settings
from django.utils import timezone

from recovery import exports, kept, tasks, uploads
from recovery.exceptions import CredentialsMissing, ExportDamaged
from recovery.models import ExportState, FailurePatternExport
from tests.flows import exporter, processes
from tests.hands import side_by_side
from tests.recovery.object_store import BUCKET, KEY, ObjectStore
from tests.recovery.vault_server import ROLE, SECRET, VaultServer

NIGHT = date(2026, 3, 9)
OTHER = [*exporter.LINES, {"pattern": "seen later", "count": 1}]
_ENVIRONMENT = {"EXPORTS_BUCKET": BUCKET, "EXPORTS_ACCESS_KEY_ID": KEY, "EXPORTS_SECRET_ACCESS_KEY": "secret"}


@contextlib.contextmanager
def _exports_to(stage, store=None, **options):
    """Keep exports in a folder of the story's own, and send them to a bucket; processes that are started do the same."""
    folder = stage.folder / "exports"
    environment = {"CELERIAC_EXPORTS_FOLDER": str(folder)}
    given = {}
    if store is not None:
        environment |= _ENVIRONMENT | {"EXPORTS_ENDPOINT_URL": store.url}
        keys = {} if "vault" in options else {"access_key": KEY, "secret_key": "secret"}
        about = {"bucket_name": BUCKET, "endpoint_url": store.url, "region_name": "auto", "timeout_seconds": 1.0}
        storage = {"BACKEND": "recovery.storages.ExportStorage", "OPTIONS": about | keys | options}
        given = {"STORAGES": settings.STORAGES | {"exports": storage}}
    name = "exports" if store else ""
    celeriac = settings.CELERIAC | {"exports_folder": str(folder), "exports": name}
    with (
        override_settings(CELERIAC=celeriac, **given),
        mock.patch.dict(os.environ, environment),
        mock.patch.object(uploads, "SHORTEST_PAUSE_SECONDS", 0.05),
    ):
        yield folder


class _Kept:
    """What ends with the stage."""

    def __init__(self, end):
        self.kill = end


def _store(stage):
    made = ObjectStore()
    stage.keep(_Kept(made.close))
    return made


def _end_leases():
    """Let the leases of those who died be over, as the time would."""
    FailurePatternExport.objects.update(lease_until=timezone.now() - timedelta(seconds=1))


def one_export_a_night(stage):
    """14: killed before every statement and every change of a file, then run again: one row, one object, one manifest."""
    with _exports_to(stage) as folder:
        survived = stage.folder / "survived"
        command = ("tests.flows.exporter", str(stage.folder))
        killed = stage.keep(processes.Process(command, log=stage.folder / "exporter.log"))
        stage.eventually(survived.exists, timeout=90, message="a process survives")
        killed.process.wait(10)
        count = int(survived.read_text())
        assert count > 15, "every point was reached"
        _end_leases()
        for number in range(1, count + 1):
            night = exporter.night_of(number)
            export = exports.export_night(night, OTHER)
            assert export.state == ExportState.UPLOADED, f"killed at point {number}: {export.last_error}"
            assert exports.verify(export).line_count in (len(exporter.LINES), len(OTHER))
            objects = list((folder / f"failure_patterns/{night:%Y/%m/%d}").iterdir())
            assert len(objects) == 2, f"killed at point {number}: {objects}"
        assert FailurePatternExport.objects.count() == count
    _killed_in_the_upload(stage)


def _killed_in_the_upload(stage):
    """An exporter is killed while the bucket takes the object, and when it has it: the next run leaves one export."""
    store = _store(stage)
    with _exports_to(stage, store):
        for days, faults in enumerate([[("PUT", "hang")], [("HEAD", None), ("HEAD", "hang")]]):
            night = NIGHT + timedelta(days=days)
            store.faults, store.requests = list(faults), []
            command = ("tests.flows.exporter", str(stage.folder), night.isoformat())
            process = stage.keep(processes.Process(command, log=stage.folder / "exporter.log"))
            stage.eventually(lambda: not store.faults, timeout=30, message="the upload is under way")
            process.kill()
            _end_leases()
            export = exports.export_night(night, OTHER)
            assert (export.state, export.line_count) == (ExportState.UPLOADED, len(exporter.LINES))
            exports.verify(export)
        assert len(store.names()) == 4, "two objects, two manifests"


def broken_wire(stage):
    """28: each fault costs a try; when all tries fail the bytes are kept, and a worker's cycle uploads them later."""
    store = _store(stage)
    with _exports_to(stage, store):
        faults = ["500", "hang", "cut", "truncate", "flip", "lose the answer"]
        for days, fault in enumerate(faults):
            store.break_next(fault)
            export = exports.export_night(NIGHT + timedelta(days=days), exporter.LINES)
            assert (export.state, export.failure_count) == (ExportState.UPLOADED, 1), f"{fault}: {export.last_error}"
            assert hashlib.sha256(store.read(export.name)).hexdigest() == export.digest
        store.break_next("500", "cut", "truncate", "flip", "500")
        waiting = exports.export_night(date(2026, 4, 1), exporter.LINES)
        assert (waiting.state, waiting.attempt_count) == (ExportState.PENDING_UPLOAD, 5)
        assert kept.look_at(waiting).digest == waiting.digest, "nothing is lost"
        assert waiting.last_error
        stage.worker()
        tasks.upload_exports.apply_async(queue="default")
        done = uploads.pending()
        stage.eventually(lambda: not done.exists(), timeout=40, message="a worker's pass uploads what waited")
        waiting.refresh_from_db()
        exports.verify(waiting)
        assert len(store.names()) == 2 * (len(faults) + 1)


def same_hash(stage):
    """29: four upload one row at once, and an object is changed in its bucket: what is verified has its row's hash."""
    store = _store(stage)
    with _exports_to(stage, store):
        side_by_side(*[lambda n=n: exports.export_night(NIGHT, [*exporter.LINES, {"by": n}]) for n in range(4)])
        export = uploads.upload(FailurePatternExport.objects.get())
        assert hashlib.sha256(store.read(export.name)).hexdigest() == exports.verify(export).digest
        whole = store.read(export.name)
        for changed in (whole[:-1] + b"?", whole[: len(whole) // 2], b""):
            store.direct.put_object(Bucket=BUCKET, Key=export.name, Body=changed)
            with pytest.raises(ExportDamaged, match="is damaged"):
                exports.verify(export)
            assert exports.verify(uploads.upload(export, again=True)).last_error == ""
        assert store.read(export.name) == whole


def lost_vault(stage):
    """30: Vault goes away: what is held serves until its lease ends, then an error says so and the bytes wait for Vault."""
    store, vault = _store(stage), VaultServer()
    stage.keep(_Kept(vault.stop))
    vault.token_seconds = 6
    vault.put("secret/celeriac/exports", access_key_id=KEY, secret_access_key="secret")
    role = {"url": vault.url, "path": "secret/celeriac/exports", "role_id": ROLE, "secret_id": SECRET}
    with _exports_to(stage, store, vault=role):
        assert exports.export_night(NIGHT, exporter.LINES).state == ExportState.UPLOADED
        vault.stop()
        assert exports.export_night(NIGHT + timedelta(days=1), exporter.LINES).state == ExportState.UPLOADED
        stage.eventually(_has_expired, timeout=20, message="the lease ends")
        waiting = exports.export_night(NIGHT + timedelta(days=2), exporter.LINES)
        assert waiting.state == ExportState.PENDING_UPLOAD
        assert "there are no credentials for the exports: Vault at http" in waiting.last_error
        assert kept.look_at(waiting).digest == waiting.digest, "nothing is lost"
        vault.start()
        assert uploads.upload_pending() == 1
        waiting.refresh_from_db()
        exports.verify(waiting)


def _has_expired():
    try:
        uploads.storage().connection  # noqa: B018 - asks for the credentials
    except CredentialsMissing:
        return True
    return False


STORIES = {14: one_export_a_night, 28: broken_wire, 29: same_hash, 30: lost_vault}
