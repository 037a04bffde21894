"""The demo's house: servers up, ledger migrated, two workers and beat at work."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

import django
from django.core.management import call_command

from config import substrate
from config.demo.crew import Member
from config.demo.home import LEASE_SECONDS, Home
from config.demo.screen import Screen

READY = " ready."


@dataclass(slots=True)
class House:
    """What one showing needs."""

    home: Home
    screen: Screen
    workers: dict[str, Member] = field(default_factory=dict)

    def hire(self, name: str) -> Member:
        """Start a worker without waiting for it."""
        self.workers[name] = self.home.start(
            name,
            *("worker", "-n", f"{name}@%h", "-Q", "default", "-c", "1", "-l", "INFO"),
            *("--without-mingle", "--without-gossip"),
        )
        return self.workers[name]


def open_house(home: Home, screen: Screen) -> House:
    """Start the servers and the crew."""
    house = House(home, screen)
    screen.title("A PostgreSQL, a Redis, two workers and beat, for this demo alone")
    _start_servers(screen)
    _migrate(screen)
    began = time.monotonic()
    crew = [house.hire("worker-1"), house.hire("worker-2")]
    beat = home.start("beat", "beat", "-l", "INFO", "--pidfile=")
    for worker in crew:
        worker.wait_for(READY)
    beat.wait_for("beat: Starting")
    screen.say(f"worker-1, worker-2 and beat up after {_since(began)}; the lease is {LEASE_SECONDS} s")
    return house


def _start_servers(screen: Screen) -> None:
    began = time.monotonic()
    substrate.ensure()
    versions = " and ".join(server.version for server in substrate.status())
    screen.say(f"{versions} up after {_since(began)}, on sockets of their own")


def _migrate(screen: Screen) -> None:
    began = time.monotonic()
    django.setup()
    call_command("migrate", interactive=False, verbosity=0)
    screen.say(f"ledger migrated in {_since(began)}")


def _since(began: float) -> str:
    return f"{(time.monotonic() - began) * 1000:,.0f} ms"
