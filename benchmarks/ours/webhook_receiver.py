"""`python -m benchmarks.ours.webhook_receiver PORT`: notes how old each event was; `hang*` never answers."""

import asyncio
import json
import sys
import time
from collections import defaultdict

SEEN: dict[str, list[float]] = defaultdict(list)
THANKS = b"HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"


async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Serve one connection."""
    try:
        while await one(reader, writer):
            pass
    except (OSError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Serve one request."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    path = head.split(" ", 2)[1].lstrip("/")
    if path == "seen":
        body = json.dumps(SEEN).encode()
        writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body) + body)
        await writer.drain()
        return False
    length = int(head.partition("content-length:")[2].partition("\r\n")[0])
    event = json.loads(await reader.readexactly(length))
    SEEN[path].append((time.time() - event["data"].get("at", 0.0)) * 1000)
    if path.startswith("hang"):
        await asyncio.sleep(3600)
    writer.write(THANKS)
    await writer.drain()
    return True


async def serve(port: int) -> None:
    """Serve for ever."""
    server = await asyncio.start_server(meet, "127.0.0.1", port)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1])))
