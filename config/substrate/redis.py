"""The embedded Redis: append-only, never evicting, reachable by its socket alone.

It is a doorbell and not a ledger, so it may lose a second of messages in a power cut; the ledger rings again.
"""

import os
import signal
import socket
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from config.substrate import processes, waiting
from config.substrate.addresses import Addresses
from config.substrate.binaries import find_redis
from config.substrate.errors import with_log
from config.substrate.folders import make_server_folder
from config.substrate.privileges import Account
from config.substrate.processes import Identity

LOADING_SECONDS = 3600
SHUTDOWN_SECONDS = 300

SETTINGS = """\
# Written by Celeriac at each start.
port 0
unixsocket "{socket}"
unixsocketperm 700
daemonize yes
supervised no
pidfile "{pid_file}"
logfile "{log}"
dir "{data}"
databases 16
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
tcp-keepalive 60
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Redis:
    """The Redis of one home."""

    addresses: Addresses
    name: ClassVar[str] = "Redis"

    @property
    def data(self) -> Path:
        """Where the append-only file is kept."""
        return self.addresses.home / "redis"

    @property
    def log(self) -> Path:
        """What the server says."""
        return self.addresses.home / "logs" / "redis.log"

    @property
    def record(self) -> Path:
        """Where the identity of the running server is kept."""
        return self.addresses.home / "redis.process"

    @property
    def mark(self) -> str:
        """What the server's process title must name."""
        return f"unixsocket:{self.addresses.redis_socket}"

    @property
    def is_embedded(self) -> bool:
        """Whether this server is ours to start."""
        return self.addresses.embeds_redis

    @property
    def socket_folder(self) -> Path:
        """The folder of its socket."""
        return self.addresses.redis_socket.parent

    @property
    def where(self) -> str:
        """The address, for people."""
        return self.addresses.redis_url.rpartition("@")[2]

    def identity(self) -> Identity | None:
        """Return the running server, or none."""
        return processes.identify(processes.pid_in(self.data / "redis.pid"), mark=self.mark)

    def is_ready(self) -> bool:
        """Tell whether the server has loaded its data and answers."""
        return self._ask(b"PING\r\n").startswith(b"+PONG")

    def start(self, account: Account) -> None:
        """Start the server and return when it has loaded its data."""
        if not self.identity():
            self._configure(account)
            self._launch(account)
        waiting.until(
            lambda: self.is_ready() or not self.identity(),
            what="Redis is loading",
            log=self.log,
            timeout_seconds=LOADING_SECONDS,
        )
        if not self.is_ready():
            raise with_log("Redis did not become ready.", self.log, "Look into the log, then start again.")

    def stop_signal(self) -> signal.Signals:
        """Return the signal that writes the append-only file and exits."""
        return signal.SIGTERM

    def version(self) -> str:
        """Ask the server for its version."""
        lines = self._ask(b"INFO server\r\n").decode(errors="replace").splitlines()
        facts = dict(line.split(":", 1) for line in lines if ":" in line)
        return f"{facts.get('server_name', 'Redis').title()} {facts.get('redis_version', 'unknown')}"

    def _configure(self, account: Account) -> None:
        make_server_folder(self.data, account)
        conf = self.data / "redis.conf"
        conf.write_text(
            SETTINGS.format(
                socket=self.addresses.redis_socket, pid_file=self.data / "redis.pid", log=self.log, data=self.data
            )
        )
        account.own(conf)

    def _launch(self, account: Account) -> None:
        """Start the server in the background; it has put down its pid file and socket soon after."""
        (self.data / "redis.pid").unlink(missing_ok=True)
        command = [*account.prefix, str(find_redis()), str(self.data / "redis.conf")]
        done = subprocess.run(
            command, cwd="/", env={**os.environ, "LC_ALL": "C"}, capture_output=True, text=True, check=False
        )
        appeared = waiting.until(
            lambda: self.identity() is not None, what="Redis is starting", log=self.log, timeout_seconds=10
        )
        if done.returncode or not appeared:
            advice = f"Mend what the log names and start again. Its data folder is {self.data}."
            raise with_log(f"Redis did not start. {done.stdout}{done.stderr}".strip(), self.log, advice)

    def _ask(self, command: bytes) -> bytes:
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
                connection.settimeout(5)
                connection.connect(str(self.addresses.redis_socket))
                connection.sendall(command)
                return connection.recv(65536)
        except OSError:
            return b""
