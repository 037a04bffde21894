"""The hand: seeded, it does one unkind thing after the other, and plays the operator who decides and signals."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import redis
from django.db import close_old_connections, connection

from config import substrate
from config.substrate.postgres import Postgres
from config.substrate.privileges import server_account
from execution import effects, ledger, runs
from execution.exceptions import CeleriacError
from execution.models import Effect, EffectState, Step, StepState
from tests.workers import REPOSITORY, Worker, Workers, test_environment

LEASE = 5.0


@dataclass(slots=True)
class Kill:
    """One worker killed, and what it was performing."""

    at: float
    steps: dict[str, int]


@dataclass
class Hand:
    """What the hand does, and what it remembers of it."""

    workers: Workers
    environment: dict[str, str]
    seed: int
    count: int = 3
    deeds: Counter[str] = field(default_factory=Counter)
    kills: list[Kill] = field(default_factory=list)
    crew: list[Worker] = field(default_factory=list)
    beats: list[subprocess.Popen[bytes]] = field(default_factory=list)
    frozen: list[tuple[Worker, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Bring the crew up."""
        self._draw = random.Random(self.seed)
        self.crew = self.workers.start_all(self.count, environment=self.environment, skills="tests.chaos.skills")
        self._start_beat()

    def disturb(self, seconds: float, *, restarts: int) -> None:
        """Disturb for so long, with so many restarts of PostgreSQL in between; then let everything be well again."""
        end = time.monotonic() + seconds
        moments = [time.monotonic() + seconds * (number + 1) / (restarts + 1) for number in range(restarts)]
        while time.monotonic() < end:
            self._tend()
            if moments and time.monotonic() > moments[0]:
                moments.pop(0)
                self._do("restart_postgres")
            else:
                self._do(
                    self._draw.choices(
                        ["kill_worker", "kill_child", "freeze", "flush_redis", "stop_beat", "two_beats", "rest"],
                        weights=[5, 6, 3, 1, 1, 1, 3],
                    )[0]
                )
            self._operate()
            self._wait(self._draw.uniform(0.3, 2.0))
        self.heal()

    def heal(self) -> None:
        """Wake what is frozen and start what is dead."""
        for worker, _ in self.frozen:
            worker.wake()
        self.frozen.clear()
        for worker in self.crew:
            if not worker.is_alive:
                worker.start()

    def settle(self) -> None:
        """Play the operator once more: decide, signal."""
        self._operate()

    def stop(self) -> None:
        """End the beats; the crew ends with the test."""
        for beat in self.beats:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(beat.pid, signal.SIGKILL)
            beat.wait(10)
        self.beats.clear()

    def _do(self, name: str) -> None:
        self.deeds[name] += 1
        getattr(self, f"_{name}")()

    def _tend(self) -> None:
        """Wake those that have been frozen past their lease, and start again those that died."""
        for worker, until in list(self.frozen):
            if time.monotonic() > until:
                worker.wake()
                self.frozen.remove((worker, until))
        asleep = [worker for worker, _ in self.frozen]
        for worker in self.crew:
            if worker not in asleep and not worker.is_alive and self._draw.random() < 0.5:
                worker.start(wait=False)

    def _awake(self) -> list[Worker]:
        asleep = [worker for worker, _ in self.frozen]
        return [worker for worker in self.crew if worker.is_alive and worker not in asleep]

    def _kill_worker(self) -> None:
        awake = self._awake()
        if len(awake) < 2:
            return
        victim = self._draw.choice(awake)
        performing = self._performed_by(victim)
        now = self._database_time()
        victim.kill()
        self.kills.append(Kill(at=now, steps=performing))

    def _kill_child(self) -> None:
        for worker in self._awake():
            with contextlib.suppress(AssertionError, Exception):
                worker.kill_child()
                return

    def _freeze(self) -> None:
        awake = self._awake()
        if len(awake) > 1:
            victim = self._draw.choice(awake)
            victim.freeze()
            self.frozen.append((victim, time.monotonic() + self._draw.uniform(LEASE * 0.5, LEASE * 2)))

    def _flush_redis(self) -> None:
        with redis.from_url(substrate.addresses().redis_url) as client:
            client.flushdb()

    def _restart_postgres(self) -> None:
        """Restart the server as a fail-over would: every connection is cut."""
        server = Postgres(addresses=substrate.addresses())
        identity = server.identity()
        if identity is not None:
            os.kill(identity.pid, signal.SIGINT)
            deadline = time.monotonic() + 30
            while server.identity() is not None and time.monotonic() < deadline:
                time.sleep(0.05)
        server_account(server.data)
        substrate.ensure()
        close_old_connections()
        connection.close()

    def _start_beat(self) -> None:
        folder = Path(self.workers.logs)
        with (folder / "beat.log").open("ab") as log:
            self.beats.append(
                subprocess.Popen(
                    [sys.executable, "-m", "celery", "-A", "config", "beat", "--pidfile=", "--loglevel=WARNING"],
                    cwd=REPOSITORY, env=os.environ | test_environment() | self.environment, stdin=subprocess.DEVNULL,
                    stdout=log, stderr=log, start_new_session=True,
                )
            )  # fmt: skip

    def _stop_beat(self) -> None:
        self.stop()

    def _two_beats(self) -> None:
        while len(self.beats) < 2:
            self._start_beat()

    def _rest(self) -> None:
        pass

    def _wait(self, seconds: float) -> None:
        time.sleep(seconds)

    def _operate(self) -> None:
        """Decide unknown effects as done or again, answer signals, as a person would."""
        with contextlib.suppress(CeleriacError):
            for effect in Effect.objects.filter(
                state=EffectState.INTENDED, step__state=StepState.PARKED, step__waiting="effect"
            )[:50]:
                effects.decide(effect, "done", receipt="seen by a person", by="hand")
        waiting = Step.objects.filter(state=StepState.WAITING, waiting="signal").values_list("run_id", "awaits")[:200]
        for run_id, awaits in waiting:
            with contextlib.suppress(CeleriacError):
                for name in awaits or []:
                    runs.signal(run_id, name, {"from": "hand"}, sender="hand")

    def _performed_by(self, worker: Worker) -> dict[str, int]:
        rows = ledger.ask(
            "SELECT s.id, s.epoch FROM execution_step s JOIN execution_worker w ON w.id = s.worker_id "
            "WHERE s.state = 'running' AND w.pid = %s AND w.gone_at IS NULL",
            [worker.pid],
        )
        return {str(row.id): row.epoch for row in rows}

    @staticmethod
    def _database_time() -> float:
        return float(ledger.ask("SELECT extract(epoch FROM clock_timestamp()) AS t")[0].t)
