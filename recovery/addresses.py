"""Which addresses a webhook may reach, decided on the very address that is connected to.

A name is looked up once for a connection, each address found is judged, and the socket is opened to a judged address
and not to the name: what the name says a moment later, as in DNS rebinding, is never asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import re
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore
import httpx

from execution.exceptions import OptionInvalid
from recovery import conf

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Looks a name up: returns its addresses as text."""

_LOOKUPS = 32
_LONGEST = 2000
_HIDING_IPV4 = (  # an IPv4 address stands in the last bytes of these
    ipaddress.IPv6Network("64:ff9b::/96"),
    ipaddress.IPv6Network("::/96"),
)
_LOCAL_TRANSLATION = ipaddress.IPv6Network("64:ff9b:1::/48")
"""Each network translates these as it likes (RFC 8215): nobody can tell where one leads."""


class Refused(httpcore.ConnectError):
    """The address may not be connected to."""


def is_public(address: Address) -> bool:
    """Tell whether an address belongs to the open internet, as does the one that it may carry in itself."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _carried(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address in _LOCAL_TRANSLATION:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


def _carried(address: ipaddress.IPv6Address) -> ipaddress.IPv4Address | None:
    """Return the IPv4 address that an IPv6 address leads to."""
    if address.ipv4_mapped or address.sixtofour:
        return address.ipv4_mapped or address.sixtofour
    if address.teredo:
        return address.teredo[1]
    if any(address in network for network in _HIDING_IPV4):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return None


def judged(host: str, found: Iterable[str]) -> list[str]:
    """Return the addresses of a host that may be connected to; refused where there is none."""
    addresses = list(dict.fromkeys(found))
    if conf.current().webhook_private_addresses:
        return addresses
    allowed = [text for text in addresses if is_public(ipaddress.ip_address(text))]
    if addresses and not allowed:
        raise Refused(
            f"{host} is at {', '.join(addresses[:3])}, which is no public address; webhooks go there only with "
            "CELERIAC['webhook_private_addresses'] = True"
        )
    return allowed


# As an operator gives them


def checked_url(url: str) -> str:
    """Return an address that can be sent to, or say what is wrong with it."""
    try:
        problem = _problem(url, httpx.URL(url))
    except (httpx.InvalidURL, TypeError, UnicodeError) as error:
        raise OptionInvalid(f"the webhook's address {url!r:.200} cannot be read: {error}") from None
    if problem:
        raise OptionInvalid(f"the webhook's address {shown_url(url)!r:.200} {problem}")
    return url


def _problem(url: str, parsed: httpx.URL) -> str:
    if parsed.scheme not in ("https", "http") or not parsed.host:
        return "is no web address: write it as https://example.com/hooks"
    if parsed.port is not None and not 0 < parsed.port < 65536:
        return f"names the port {parsed.port}: there are 1 to 65535"
    if parsed.userinfo:
        return "holds a user or a password: leave them out; the receiver verifies the signature"
    if parsed.fragment or len(url) > _LONGEST or any(character.isspace() for character in url):
        return f"holds a fragment or a space, or is longer than {_LONGEST} characters: leave that out"
    return _private(parsed.host)


def _private(host: str) -> str:
    """Say that a host is a private address in plain sight; names are judged when they are connected to."""
    try:
        is_refused = not is_public(ipaddress.ip_address(host.strip("[]")))
    except ValueError:
        is_refused = host == "localhost" or host.endswith(".localhost")
    if is_refused and not conf.current().webhook_private_addresses:
        return "is no public address; CELERIAC['webhook_private_addresses'] = True allows such"
    return ""


def shown_url(url: str) -> str:
    """Return an address without what may be a secret in it."""
    bare, question, _ = url.partition("?")
    return re.sub(r"//[^/@]*@", "//", bare) + ("?..." if question else "")


# As they are connected to


class Network(httpcore.AsyncNetworkBackend):
    """Opens connections to judged addresses only; one look-up of a name serves all that wait for it."""

    def __init__(self, resolve: Resolve | None = None) -> None:
        """Look names up by the system, or by `resolve`."""
        self._resolve = resolve or self._ask_system
        self._threads = ThreadPoolExecutor(_LOOKUPS, thread_name_prefix="webhook-lookup")
        self._lookups: dict[tuple[str, int], asyncio.Task[list[str]]] = {}
        self._sockets = httpcore.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - the signature is httpcore's
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Connect to the first judged address that answers."""
        problem: Exception = httpcore.ConnectError(f"{host} has no address")
        for address in judged(host, await self._found(host, port)):
            try:
                return await self._sockets.connect_tcp(address, port, timeout, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout) as error:
                problem = httpcore.ConnectError(f"{host} port {port}: {_reason(error)}")
        raise problem

    async def connect_unix_socket(self, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Refuse: no webhook goes to a file."""
        raise Refused("webhooks go to hosts, and not to sockets in the file system")

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        await asyncio.sleep(seconds)

    def close(self) -> None:
        """Wait for no look-up that hangs."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def _found(self, host: str, port: int) -> list[str]:
        try:
            return [str(ipaddress.ip_address(host.strip("[]")))]
        except ValueError:
            pass
        key = (host, port)
        if key not in self._lookups:
            task = self._lookups[key] = asyncio.ensure_future(self._resolve(host, port))
            task.add_done_callback(lambda done: self._forget(key, done))
        return await asyncio.shield(self._lookups[key])

    def _forget(self, key: tuple[str, int], done: asyncio.Task[list[str]]) -> None:
        self._lookups.pop(key, None)
        if not done.cancelled():
            done.exception()  # looked at, so that nobody is warned of one that nobody waits for any more

    async def _ask_system(self, host: str, port: int) -> list[str]:
        loop = asyncio.get_running_loop()
        try:
            found = await loop.run_in_executor(self._threads, _look_up, host, port)
        except (OSError, UnicodeError) as error:
            raise httpcore.ConnectError(f"the name {host} was not found: {error}") from error
        return [str(entry[4][0]) for entry in found]


def _reason(error: BaseException) -> str:
    """Return what the system said, below what the libraries made of it."""
    while error.__cause__ is not None:
        error = error.__cause__
    number = getattr(error, "errno", None)
    return os.strerror(number) if number else str(error) or type(error).__name__


def _look_up(host: str, port: int) -> list[Any]:
    return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
