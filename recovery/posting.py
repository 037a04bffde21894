"""One try to deliver one message: a signed POST, told as an answer and never raised.

A try has one time limit for everything, from the look-up of the name to the last byte of the answer, so that a receiver
that trickles is cut off as well. Redirects are not followed, and proxies of the environment are not used.
"""

from __future__ import annotations

import asyncio
import json
import ssl
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import lru_cache
from types import TracebackType

import httpcore
import httpx
from standardwebhooks import Webhook

from recovery import conf, network
from recovery.message import Answer, Message

RESPONSE_BYTES = 20_000
_HEADERS = {
    "content-type": "application/cloudevents+json; charset=utf-8",
    "user-agent": "Celeriac-Webhooks/1.0",
    "accept-encoding": "identity",
}


class Sender(httpx.AsyncHTTPTransport):
    """Sends by a network of ours. A client above it would keep cookies, and write whole addresses to the log."""

    def __init__(self, resolve: network.Resolve | None = None) -> None:
        """Look names up by the system, or by `resolve`."""
        super().__init__(verify=_tls(), trust_env=False)
        self._network = network.Network(resolve)
        self._pool = httpcore.AsyncConnectionPool(
            ssl_context=_tls(),
            network_backend=self._network,
            max_connections=None,
            max_keepalive_connections=100,
            keepalive_expiry=5.0,
        )

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None = None,
        exc_value: BaseException | None = None,
        traceback: TracebackType | None = None,
    ) -> None:
        """Close the connections, and wait for no look-up."""
        self._network.close()
        await super().__aexit__(exc_type, exc_value, traceback)


@lru_cache(maxsize=1)
def _tls() -> ssl.SSLContext:
    """Read the certificates of authorities once: that takes longer than many a delivery."""
    return httpx.create_ssl_context(trust_env=False)


async def post(sender: Sender, message: Message) -> Answer:
    """Deliver a message once, and tell how that went."""
    limit = conf.current().webhook_timeout_seconds
    began = time.monotonic()
    try:
        async with asyncio.timeout(limit):
            answer = await _exchange(sender, message)
    except TimeoutError:
        answer = Answer(error=f"no whole answer within {limit:g} s")
    except Exception as error:  # noqa: BLE001 - whatever comes of a try is its answer
        answer = Answer(error=_said(error))
    return replace(answer, duration_ms=(time.monotonic() - began) * 1000)


async def _exchange(sender: Sender, message: Message) -> Answer:
    body = json.dumps(message.body, separators=(",", ":"), ensure_ascii=False)
    headers = _HEADERS | signed(message.event_id, body, message.secrets)
    request = httpx.Request("POST", message.url, headers=headers, content=body.encode())
    response = await sender.handle_async_request(request)
    try:
        return _answered(response, await _beginning(response))
    finally:
        await response.aclose()


async def _beginning(response: httpx.Response) -> bytes:
    read = bytearray()
    async for part in response.aiter_raw():
        read += part
        if len(read) >= RESPONSE_BYTES:
            break
    return bytes(read[:RESPONSE_BYTES])


def signed(event_id: uuid.UUID, body: str, secrets: Sequence[str], *, at: datetime | None = None) -> dict[str, str]:
    """Return the headers of Standard Webhooks 1.0: one signature for each secret that is valid."""
    moment = at or datetime.now(UTC)
    return {
        "webhook-id": str(event_id),
        "webhook-timestamp": str(int(moment.timestamp())),
        "webhook-signature": " ".join(Webhook(secret).sign(str(event_id), moment, body) for secret in secrets),
    }


def _answered(response: httpx.Response, read: bytes) -> Answer:
    return Answer(
        status=response.status_code,
        error="" if response.is_success else _refusal(response),
        response=decoded(read),
        retry_after=retry_after(response.headers.get("retry-after", "")),
    )


def _refusal(response: httpx.Response) -> str:
    told = f"answered {response.status_code} {response.reason_phrase}".rstrip()
    return f"{told}: redirects are not followed" if response.is_redirect else told


def decoded(read: bytes) -> str:
    """Return what was answered as text that the database can hold."""
    return read.decode("utf-8", "replace").replace("\0", "\N{REPLACEMENT CHARACTER}")


def retry_after(text: str, now: datetime | None = None) -> float | None:
    """Read `Retry-After`: seconds, or a date."""
    if not text:
        return None
    if text.strip().isascii() and text.strip().isdigit():
        return float(text.strip()[:12])
    try:
        moment = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    return max((moment - (now or datetime.now(UTC))).total_seconds(), 0.0)


def _said(error: Exception) -> str:
    """Tell an error in words; an address may hold a secret and is not among them."""
    kinds = {
        httpx.ConnectError: "could not connect",
        httpx.ReadError: "the connection was reset",
        httpx.WriteError: "the connection was reset",
        httpx.RemoteProtocolError: "the answer was no HTTP",
    }
    words = next((words for kind, words in kinds.items() if isinstance(error, kind)), type(error).__name__)
    return f"{words}: {error}".rstrip(": ")[:1000]
