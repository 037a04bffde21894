"""What the tests hold: an empty log, a receiver of webhooks, an object store behind a wire that breaks, and a Vault."""

import pytest

from recovery import templates, uploads
from tests.execution.conftest import _nothing_connected, _nothing_remembered, hands, stage  # noqa: F401 - fixtures
from tests.receivers import Receiver
from tests.recovery.object_store import BUCKET, KEY, ObjectStore
from tests.recovery.vault_server import VaultServer


@pytest.fixture
def store():
    """Have a bucket that nothing points to yet."""
    made = ObjectStore()
    yield made
    made.close()


@pytest.fixture
def vault():
    """Have a Vault."""
    made = VaultServer()
    yield made
    made.stop()


@pytest.fixture
def folder(settings, tmp_path):
    """Keep exports in a folder of the test's own, which is where they go as well."""
    place = tmp_path / "exports"
    settings.CELERIAC = settings.CELERIAC | {"exports_folder": str(place), "exports": ""}
    return place


@pytest.fixture
def bucket(store, folder, settings):
    """Send exports to the bucket."""
    send_to(settings, store)
    return store


def send_to(settings, store, **options):
    """Point the exports at a bucket."""
    given = {"bucket_name": BUCKET, "endpoint_url": store.url, "region_name": "auto", "timeout_seconds": 1.0}
    credentials = {} if "vault" in options else {"access_key": KEY, "secret_key": "secret"}
    settings.STORAGES = settings.STORAGES | {
        "exports": {"BACKEND": "recovery.storages.ExportStorage", "OPTIONS": given | credentials | options}
    }
    settings.CELERIAC = settings.CELERIAC | {"exports": "exports"}


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch):
    """Try again at once."""
    monkeypatch.setattr(uploads, "SHORTEST_PAUSE_SECONDS", 0.0)


@pytest.fixture
def receiver(settings, transactional_db):
    """Have a receiver of webhooks on loopback, which may be sent to; whoever delivers is stopped before it goes."""
    from recovery import courier

    settings.CELERIAC = settings.CELERIAC | {"webhook_private_addresses": True}
    made = Receiver()
    yield made
    courier.stop()
    made.close()


@pytest.fixture(autouse=True)
def _no_templates():
    """Forget the templates of the last test."""
    yield
    templates.forget()
