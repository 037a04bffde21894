"""A receiver of webhooks on a real socket, in a thread: it verifies each message with the public library, and misbehaves.

`receiver.url("shop")` is an address; `receiver.behave("shop", status=500)` says how that one answers. What came in is in
`receiver.seen`: only messages whose signature was verified.
"""

from __future__ import annotations

import asyncio
import json
import struct
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from socket import SO_LINGER, SOL_SOCKET

from standardwebhooks import Webhook, WebhookVerificationError


@dataclass
class Behaviour:
    """How one path answers."""

    status: int = 200
    headers: dict = field(default_factory=dict)
    body: bytes = b"thanks"
    wait: float = 0.0
    trickle: float = 0.0
    reset: bool = False
    talk: bytes = b""


@dataclass
class Seen:
    """One request."""

    path: str
    id: str
    body: dict
    headers: dict
    at: float
    signatures: list


class Receiver:
    """A server on a free port of loopback."""

    def __init__(self):
        """Start it."""
        self.seen: list[Seen] = []
        self.refused: list[str] = []
        self.secrets: dict[str, str] = {}
        self.open_count = 0
        self.most_open: dict[str, int] = defaultdict(int)
        self._open: dict[str, int] = defaultdict(int)
        self._behaviours: dict[str, Behaviour] = {}
        self._ready = threading.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        assert self._ready.wait(10)

    def url(self, path, host="127.0.0.1"):
        """Return the address of a path."""
        return f"http://{host}:{self.port}/{path}"

    def behave(self, path, **how):
        """Say how a path answers from now on."""
        self._behaviours[path] = Behaviour(**how)

    def knows(self, path, secret):
        """Verify what comes to a path by a secret."""
        self.secrets[path] = secret

    def of(self, path):
        """Return what came to a path."""
        return [one for one in self.seen if one.path == path]

    def ids(self, path):
        """Return the ids that came to a path, in order."""
        return [one.id for one in self.of(path)]

    def close(self):
        """Stop it."""
        self._loop.call_soon_threadsafe(self._stopping.set)
        self._thread.join(10)
        self._loop.close()

    def _run(self):
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._serve())

    async def _serve(self):
        self._stopping = asyncio.Event()
        self._tasks = set()
        server = await asyncio.start_server(self._meet, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._ready.set()
        await self._stopping.wait()
        server.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _meet(self, reader, writer):
        task = asyncio.current_task()
        self._tasks.add(task)
        try:
            while await self._one(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _one(self, reader, writer):
        first = await reader.readexactly(1)
        if first == b"\x16":  # the beginning of TLS, which is not spoken here
            writer.write(b"what?\r\n")
            return False
        head = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
        path = first.split(" ")[1].lstrip("/").partition("?")[0]
        self._take(path, headers, body)
        self._open[path] += 1
        self.most_open[path] = max(self.most_open[path], self._open[path])
        try:
            return await self._answer(self._behaviours.get(path, Behaviour()), reader, writer)
        finally:
            self._open[path] -= 1

    def _take(self, path, headers, body):
        if path in self.secrets:
            try:
                Webhook(self.secrets[path]).verify(body, headers)
            except WebhookVerificationError as error:
                self.refused.append(f"{path}: {error}")
                return
        signatures = headers.get("webhook-signature", "").split()
        self.seen.append(
            Seen(path, headers.get("webhook-id", ""), json.loads(body), headers, time.monotonic(), signatures)
        )

    async def _has_left(self, reader, seconds):
        """Wait, but not for longer than the sender does."""
        try:
            return await asyncio.wait_for(reader.read(1), seconds) == b""
        except TimeoutError:
            return False

    async def _answer(self, how, reader, writer):
        if how.wait and await self._has_left(reader, how.wait):
            return False
        if how.reset:
            writer.get_extra_info("socket").setsockopt(SOL_SOCKET, SO_LINGER, struct.pack("ii", 1, 0))
            writer.transport.abort()
            return False
        if how.talk:
            writer.write(how.talk)
            await writer.drain()
            return False
        fields = {"content-length": str(len(how.body))} | how.headers
        lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        writer.write(f"HTTP/1.1 {how.status} Said\r\n{lines}\r\n".encode())
        for number in range(len(how.body) if how.trickle else 0):
            writer.write(how.body[number : number + 1])
            await writer.drain()
            await asyncio.sleep(how.trickle)
        if not how.trickle:
            writer.write(how.body)
        await writer.drain()
        return True
