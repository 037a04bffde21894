"""Credentials from Vault: held until their lease ends, asked for anew before that, and an error in words after it."""

from datetime import date

import pytest

from recovery import exports, uploads
from recovery.credentials import Credentials, Vault
from recovery.exceptions import CredentialsMissing
from recovery.models import ExportState
from tests.recovery.conftest import send_to
from tests.recovery.object_store import KEY
from tests.recovery.vault_server import ROLE, SECRET

FIRST = Credentials(access_key="key-1", secret_key="secret-1")
SECOND = Credentials(access_key="key-2", secret_key="secret-2")


class Clock:
    """A clock that is set by hand."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now

    def advance(self, seconds):
        """Let time pass."""
        self.now += seconds


@pytest.fixture
def clock():
    """Have a clock."""
    return Clock()


def put(vault, number):
    """Store credentials."""
    vault.put("secret/celeriac/exports", access_key_id=f"key-{number}", secret_access_key=f"secret-{number}")


def by_role(vault, clock, **options):
    """Ask as an AppRole."""
    given = {"role_id": ROLE, "secret_id": SECRET, "timeout_seconds": 1.0}
    return Vault(url=vault.url, path="secret/celeriac/exports", clock=clock, **given | options)


class TestLease:
    def test_held_until_it_is_due(self, vault, clock):
        """The secret is read once, and anew after two thirds of its lease; the token is renewed and not fetched again."""
        put(vault, 1)
        asked = by_role(vault, clock)
        assert [asked.credentials() for _ in range(3)] == [FIRST] * 3
        assert vault.count("/data/celeriac/exports") == 1
        put(vault, 2)
        clock.advance(2399)
        assert asked.credentials() == FIRST
        clock.advance(2)
        assert asked.credentials() == SECOND
        assert (vault.count("/login"), vault.count("/renew-self")) == (1, 1)

    def test_shortest_lease_counts(self, vault, clock):
        """A token that ends sooner than the configured time ends the lease; a configured time that is shorter does too."""
        put(vault, 1)
        vault.token_seconds = 300
        by_token, by_time = by_role(vault, clock), by_role(vault, clock, ttl_seconds=60)
        assert by_token.credentials() == by_time.credentials() == FIRST
        vault.stop()
        clock.advance(61)
        assert by_token.credentials() == FIRST
        with pytest.raises(CredentialsMissing):
            by_time.credentials()
        clock.advance(240)
        with pytest.raises(CredentialsMissing):
            by_token.credentials()

    def test_away_is_outlived(self, vault, clock):
        """While Vault is away the held ones serve until their end, and it is not asked at each call."""
        put(vault, 1)
        asked = by_role(vault, clock)
        asked.credentials()
        vault.status = 503
        clock.advance(3000)
        before = len(vault.asked)
        assert [asked.credentials() for _ in range(5)] == [FIRST] * 5
        assert len(vault.asked) == before + 1
        clock.advance(600)
        with pytest.raises(CredentialsMissing, match="there are no credentials for the exports: Vault at .* is sealed"):
            asked.credentials()
        vault.status = None
        put(vault, 2)
        assert asked.credentials() == SECOND

    def test_token_that_was_revoked(self, vault, clock):
        """A role logs in anew when its token cannot be renewed any longer."""
        put(vault, 1)
        asked = by_role(vault, clock)
        asked.credentials()
        vault.tokens.clear()
        clock.advance(3000)
        put(vault, 2)
        assert asked.credentials() == SECOND
        assert vault.count("/login") == 2

    def test_plain_token(self, vault, clock):
        """A token of the environment needs no role; one that never ends leaves the configured time."""
        put(vault, 1)
        vault.token_seconds, vault.is_renewable = 0, False
        asked = Vault(url=vault.url, path="secret/celeriac/exports", token=vault.issue("t"), clock=clock)
        assert asked.credentials() == FIRST
        clock.advance(3599)
        put(vault, 2)
        assert asked.credentials() == SECOND

    def test_doubted(self, vault, clock):
        """Credentials that the storage refused are asked for anew at once, and used on where Vault is away."""
        put(vault, 1)
        asked = by_role(vault, clock)
        asked.credentials()
        put(vault, 2)
        asked.doubt()
        assert asked.credentials() == SECOND
        vault.stop()
        asked.doubt()
        assert asked.credentials() == SECOND


class TestTrouble:
    @pytest.mark.parametrize(
        ("options", "said"),
        [
            ({"secret_id": "wrong"}, "refuses the role or the token"),
            ({"role_id": "", "token": "hunter2"}, "refuses the token"),
            ({"path": "secret/elsewhere"}, "has no secret secret/elsewhere of the KV engine, version 2"),
            ({"path": "secret/half"}, "has no secret_access_key; it has access_key_id"),
        ],
    )
    def test_is_a_sentence(self, vault, clock, options, said):
        """What is wrong is said without any secret."""
        put(vault, 1)
        vault.put("secret/half", access_key_id="key-1")
        given = {"url": vault.url, "path": "secret/celeriac/exports", "role_id": ROLE, "secret_id": SECRET}
        with pytest.raises(CredentialsMissing) as caught:
            Vault(**given | options, clock=clock).credentials()
        assert said in str(caught.value)
        assert "hunter2" not in str(caught.value)

    def test_nobody_there(self, vault, clock):
        """A Vault that does not answer is named by its address."""
        vault.stop()
        with pytest.raises(CredentialsMissing, match="Vault at http://127.0.0.1:.* does not answer"):
            by_role(vault, clock).credentials()

    def test_secrets_are_not_shown(self):
        """Neither the key nor the session's token stands in what a log would print."""
        assert "secret-1" not in repr(FIRST)


@pytest.mark.django_db(transaction=True)
class TestExports:
    def test_rotated_key(self, bucket, vault, settings):
        """A key that is refused is read from Vault anew, so that the next try goes through with the new one."""
        put(vault, 1)
        bucket.refused_keys = {"key-1"}
        send_to(
            settings, bucket, vault={"url": vault.url, "path": "secret/celeriac/exports", "token": vault.issue("t")}
        )
        assert uploads.storage().connection
        vault.put("secret/celeriac/exports", access_key_id=KEY, secret_access_key="secret")
        export = exports.export_night(date(2026, 3, 9), [{"a": 1}])
        assert (export.state, export.attempt_count, export.last_error) == (ExportState.UPLOADED, 2, "")
