"""Credentials: what a storage is opened with, where Vault keeps it.

A secret of the KV engine, version 2, is read with a token or an AppRole, and held until its lease ends: the shortest of
the token's lease, the secret's own, and a time that the settings give. After two thirds of that it is asked for anew.
While Vault is away the held one is used until its lease ends; then there is an error in words, and what waits for the
storage goes on waiting.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import structlog

from recovery.exceptions import CredentialsMissing

log = structlog.get_logger(__name__)

RENEWED_AFTER = 2 / 3
ASKED_AGAIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """A key for a storage of the S3 kind."""

    access_key: str
    secret_key: str = field(repr=False)
    session_token: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lease:
    """Credentials, when they are asked for anew, and when they may not be used any more."""

    credentials: Credentials
    renew_at: float
    until: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Token:
    """What this process shows to Vault, and until when."""

    value: str = field(repr=False)
    is_renewable: bool
    until: float | None


class Vault:
    """A secret in Vault that holds `access_key_id`, `secret_access_key` and, where there is one, `session_token`."""

    def __init__(
        self,
        *,
        url: str,
        path: str,
        token: str = "",
        role_id: str = "",
        secret_id: str = "",
        namespace: str = "",
        ttl_seconds: float = 3600.0,
        timeout_seconds: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url, self._namespace, self._timeout = url, namespace, timeout_seconds
        self._mount, _, self._path = path.strip("/").partition("/")
        self._given, self._role_id, self._secret_id = token, role_id, secret_id
        self._ttl_seconds, self._clock = ttl_seconds, clock
        self._lock = threading.Lock()
        self._lease: Lease | None = None
        self._token: Token | None = None
        self._problem, self._ask_at = "", 0.0

    def credentials(self) -> Credentials:
        """Return the credentials; raises CredentialsMissing when Vault gives none and the held ones have expired."""
        with self._lock:
            now = self._clock()
            if self._lease is None or (now >= self._lease.renew_at and now >= self._ask_at):
                self._renew(now)
            if self._lease is None or now >= self._lease.until:
                self._lease = None
                raise CredentialsMissing(f"there are no credentials for the exports: {self._problem}")
            return self._lease.credentials

    def doubt(self) -> None:
        """Ask Vault again at the next call: the storage has refused what is held. It is used on if Vault is away."""
        with self._lock:
            if self._lease is not None:
                self._lease = Lease(
                    credentials=self._lease.credentials, renew_at=self._clock(), until=self._lease.until
                )

    def _renew(self, now: float) -> None:
        """Ask Vault, and remember either the lease or why there is none."""
        try:
            self._lease = self._ask(now)
            self._problem = ""
        except Exception as problem:  # noqa: BLE001 - hvac lets out what requests and JSON raise, too
            self._problem = self._explain(problem)
            self._ask_at = now + ASKED_AGAIN_SECONDS
            log.warning("vault.unavailable", url=self._url, problem=self._problem, is_held=self._lease is not None)

    def _ask(self, now: float) -> Lease:
        client = self._client()
        token = self._token = self._logged_in(client, now)
        answer = client.secrets.kv.v2.read_secret_version(
            path=self._path, mount_point=self._mount, raise_on_deleted_version=True
        )
        ends = [self._ttl_seconds, float(answer.get("lease_duration") or 0), (token.until or now) - now]
        length = min(end for end in ends if end > 0)
        return Lease(
            credentials=self._read(answer["data"]["data"]), renew_at=now + length * RENEWED_AFTER, until=now + length
        )

    def _client(self) -> Any:
        try:
            import hvac
        except ImportError as error:
            raise CredentialsMissing("Vault needs the package hvac: install the extra `exports`") from error
        return hvac.Client(url=self._url, token="", namespace=self._namespace or None, timeout=self._timeout)

    def _logged_in(self, client: Any, now: float) -> Token:
        """Renew the token that is held, or get one."""
        import hvac.exceptions

        held = self._token
        if held is not None and held.is_renewable and (held.until is None or now < held.until):
            client.token = held.value
            try:
                return _token(client.auth.token.renew_self()["auth"], now)
            except (hvac.exceptions.Forbidden, hvac.exceptions.InvalidRequest):
                pass  # it was revoked, or may not be renewed any longer
        if self._role_id:
            return _token(client.auth.approle.login(role_id=self._role_id, secret_id=self._secret_id)["auth"], now)
        client.token = self._given
        told = client.auth.token.lookup_self()["data"]
        return _token(
            {"client_token": self._given, "lease_duration": told.get("ttl"), "renewable": told.get("renewable")}, now
        )

    def _read(self, secret: dict[str, Any]) -> Credentials:
        missing = [name for name in ("access_key_id", "secret_access_key") if not secret.get(name)]
        if missing:
            raise CredentialsMissing(
                f"the secret {self._mount}/{self._path} in Vault has no {' and no '.join(missing)}; "
                f"it has {', '.join(sorted(secret)) or 'nothing'}"
            )
        return Credentials(
            access_key=str(secret["access_key_id"]),
            secret_key=str(secret["secret_access_key"]),
            session_token=str(secret.get("session_token") or ""),
        )

    def _explain(self, problem: Exception) -> str:
        """Say in words why Vault gave nothing; what it answered may hold secrets, and is left out."""
        if isinstance(problem, CredentialsMissing):
            return str(problem)
        name = type(problem).__name__
        said = {
            "Forbidden": "refuses the token, or the token may not read the secret",
            "InvalidRequest": "refuses the role or the token",
            "InvalidPath": f"has no secret {self._mount}/{self._path} of the KV engine, version 2",
            "VaultDown": "is sealed",
        }
        return f"Vault at {self._url} {said.get(name, f'does not answer ({name})')}"


def _token(auth: dict[str, Any], now: float) -> Token:
    seconds = float(auth.get("lease_duration") or 0)
    return Token(
        value=str(auth["client_token"]),
        is_renewable=bool(auth.get("renewable")),
        until=now + seconds if seconds > 0 else None,
    )
