"""A cable to PostgreSQL that can be cut: a process between two sockets, which a SIGSTOP makes silent.

Run as `python -m tests.flows.proxy LISTEN TARGET`; both are socket paths.
"""

from __future__ import annotations

import asyncio
import sys


async def _pump(reader, writer):
    """Pass on what comes until one side ends."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    except OSError:
        pass
    finally:
        writer.close()


async def serve(listen, target):
    """Pass on every connection."""

    async def connect(reader, writer):
        far_reader, far_writer = await asyncio.open_unix_connection(target)
        await asyncio.gather(_pump(reader, far_writer), _pump(far_reader, writer))

    server = await asyncio.start_unix_server(connect, listen)
    async with server:
        await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(*sys.argv[1:]))
