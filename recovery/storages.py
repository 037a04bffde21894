"""The storage of the S3 kind that exports go to, such as Cloudflare R2: one PUT with hashes, one HEAD that proves it.

An object goes up in one request whose `Content-MD5` lets the server refuse what the wire has damaged; its SHA-256 is
kept as metadata. Retries are the caller's, so that botocore makes none, and no checksum that R2 does not know is sent.
The credentials may come from Vault, and the client follows them when they change.
"""

from __future__ import annotations

import base64
import os
from typing import Any

import boto3
from boto3.s3.transfer import TransferConfig
from botocore import exceptions as botocore
from botocore.config import Config
from storages.backends.s3 import S3Storage
from storages.utils import clean_name

from recovery import kept
from recovery.credentials import Credentials, Vault
from recovery.kept import Content

CONNECT_SECONDS = 5
_MD5_LENGTH = 32
_REFUSED = {"403", "401", "AccessDenied", "InvalidAccessKeyId", "SignatureDoesNotMatch", "Unauthorized", "ExpiredToken"}


class ExportStorage(S3Storage):
    """A bucket; the options are those of django-storages, `vault` (see Vault) and `timeout_seconds`."""

    def __init__(self, **options: Any) -> None:
        seconds = options.get("timeout_seconds", 30.0)
        client_config = Config(
            connect_timeout=min(CONNECT_SECONDS, seconds),
            read_timeout=seconds,
            retries={"total_max_attempts": 1},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            signature_version="s3v4",
        )
        given = {"client_config": client_config, "transfer_config": TransferConfig(use_threads=False)}
        super().__init__(**given | options)
        self._vault = Vault(**self.vault) if self.vault else None

    def get_default_settings(self) -> dict[str, Any]:
        """Name the options, with their defaults."""
        return {**super().get_default_settings(), "vault": None, "timeout_seconds": 30.0}

    @property
    def connection(self) -> Any:
        """The client of this thread: made anew in a forked process, and when the credentials have changed."""
        wanted = (os.getpid(), self._credentials())
        if getattr(self._connections, "made_for", None) != wanted:
            self._connections.connection = self._connect(wanted[1])
            self._connections.made_for = wanted
        return self._connections.connection

    @property
    def bucket(self) -> Any:
        """The bucket, by the client of this thread."""
        return self.connection.Bucket(self.bucket_name)

    def _credentials(self) -> Credentials | None:
        if self._vault is not None:
            return self._vault.credentials()
        if not (self.access_key and self.secret_key):
            return None
        return Credentials(
            access_key=self.access_key, secret_key=self.secret_key, session_token=self.security_token or ""
        )

    def _connect(self, credentials: Credentials | None) -> Any:
        """Make a client; without credentials boto3 looks for them in its own places."""
        session = boto3.Session(
            aws_access_key_id=credentials.access_key if credentials else None,
            aws_secret_access_key=credentials.secret_key if credentials else None,
            aws_session_token=(credentials.session_token or None) if credentials else None,
        )
        return session.resource(
            "s3",
            region_name=self.region_name,
            endpoint_url=self.endpoint_url,
            config=self.client_config,
            verify=self.verify,
        )

    def _save(self, name: str, content: Any) -> str:
        """Put an object up in one request."""
        found = kept.hashed(content)
        self._client().put_object(
            **self._of(name),
            Body=content.file,
            ContentLength=found.size,
            ContentMD5=base64.b64encode(bytes.fromhex(found.md5)).decode(),
            Metadata={"sha256": found.digest},
            ContentType="application/gzip" if name.endswith(".gz") else "application/json",
        )
        return str(clean_name(name))

    def receipt(self, name: str) -> Any:
        """Return what the bucket says of an object, by a HEAD; None where there is none.

        It is NotImplemented where the bucket's words prove nothing and only reading does, as with keys of its own.
        """
        try:
            told = self._client().head_object(**self._of(name))
        except botocore.ClientError as error:
            if _status(error) == 404 and _code(error) != "NoSuchBucket":
                return None
            raise
        md5 = str(told.get("ETag", "")).strip('"')
        digest = str(told.get("Metadata", {}).get("sha256", ""))
        if len(md5) != _MD5_LENGTH or "KMS" in str(told.get("ServerSideEncryption", "")).upper() or not digest:
            return NotImplemented
        return Content(digest=digest, md5=md5, size=int(told["ContentLength"]))

    def exists(self, name: str) -> bool:
        """Tell whether there is such an object."""
        return self.receipt(name) is not None

    def reach(self) -> str:
        """Ask for one name in the bucket; returns where it is, raises what stands in the way."""
        self._client().list_objects_v2(Bucket=self.bucket_name, MaxKeys=1)
        return self._where()

    def explain(self, problem: BaseException) -> str:
        """Say in words why the bucket could not be used, and doubt credentials that it refuses; else say nothing."""
        where = self._where()
        if isinstance(problem, botocore.ClientError):
            return self._refusal(problem, where)
        if isinstance(problem, botocore.NoCredentialsError | botocore.PartialCredentialsError):
            return f"there are no credentials for {where}: set EXPORTS_ACCESS_KEY_ID and EXPORTS_SECRET_ACCESS_KEY"
        if isinstance(problem, botocore.ConnectTimeoutError | botocore.ReadTimeoutError):
            return f"{where} did not answer within {self.timeout_seconds:g} s"
        if isinstance(problem, botocore.HTTPClientError | botocore.ConnectionError):
            return f"{where} cannot be reached, or cut the connection ({type(problem).__name__})"
        return ""

    def _refusal(self, problem: botocore.ClientError, where: str) -> str:
        code = _code(problem)
        if code in _REFUSED or _status(problem) in (401, 403):
            if self._vault is not None:
                self._vault.doubt()
            return f"{where} refuses the credentials, or they may not do this ({code})"
        if code == "NoSuchBucket":
            return f"{where} is not there: make it, or correct EXPORTS_BUCKET"
        if code in ("BadDigest", "InvalidDigest"):
            return f"{where} got other bytes than were sent ({code})"
        return f"{where} answered {_status(problem)} ({code})"

    def _where(self) -> str:
        return f"the bucket {self.bucket_name!r} at {self.endpoint_url or 'Amazon'}"

    def _client(self) -> Any:
        return self.connection.meta.client

    def _of(self, name: str) -> dict[str, str]:
        return {"Bucket": self.bucket_name, "Key": self._normalize_name(clean_name(name))}


def _code(error: botocore.ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))


def _status(error: botocore.ClientError) -> int:
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
