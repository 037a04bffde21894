"""The network as webhooks are sent over it: an address is judged, and that very address is connected to.

A name is looked up once for a connection, each address found is judged, and the socket is opened to a judged address
and not to the name: what the name says a moment later, as in DNS rebinding, is never asked.
"""

from __future__ import annotations

import asyncio
import ipaddress
import os
import socket
from collections.abc import Awaitable, Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpcore

from recovery import conf
from recovery.addresses import is_public

Resolve = Callable[[str, int], Awaitable[list[str]]]
"""Looks a name up: returns its addresses as text."""

_LOOKUPS = 32


class Refused(httpcore.ConnectError):
    """The address may not be connected to."""


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
