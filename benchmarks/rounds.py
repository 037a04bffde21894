"""Runs the contenders of a figure in turn, round after round, each in a process of its own on a fresh database."""

import contextlib
import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.environment import ROOT
from benchmarks.figures import Contender, Figure, Series
from benchmarks.servers import Place, Servers

# A broker beside the given Redis, and settings that this process loaded but a peer's environment cannot.
NOT_INHERITED = {"CELERY_BROKER_URL", "CELERY_RESULT_BACKEND", "DJANGO_SETTINGS_MODULE"}


class ContenderFailedError(RuntimeError):
    """A contender ended with an error, or not at all."""

    def __init__(self, module: str, reason: str) -> None:
        super().__init__(f"{module} {reason}; run it alone: python -m {module} --database URL --redis URL")
        self.module = module


@dataclasses.dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """Where to measure, with which Python the peers run, and how much to load."""

    servers: Servers
    peers_python: Path
    rounds: int
    quick: bool
    seconds: float

    def measure(self, figure: Figure) -> dict[str, Series]:
        """Let every contender of a figure take its turn in each round, and return what each one reached."""
        reached = {name: Series() for name, _ in figure.contenders()}
        for number in range(figure.rounds or self.rounds):
            for name, contender in figure.contenders():
                outcome = self._turn(f"{figure.name}_{name}", contender)
                reached[name].add(outcome)
                latest = Series()
                latest.add(outcome)
                print(f"{figure.name}  round {number + 1}  {name}: {latest.median:,.1f} {figure.unit}", flush=True)
        return reached

    def _turn(self, label: str, contender: Contender) -> Mapping[str, object]:
        with self.servers.place_for(label) as place:
            return self._run(contender, place)

    def _run(self, contender: Contender, place: Place) -> Mapping[str, object]:
        python = sys.executable if contender.is_ours else str(self.peers_python)
        process = subprocess.Popen(
            [python, "-m", contender.module, *self._arguments(contender, place)],
            cwd=ROOT,
            env=_environment(place),
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        try:
            limit = self._limit(contender) + 60
            output, _ = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            raise ContenderFailedError(contender.module, f"did not end within {limit:.0f} s") from None
        finally:
            _end(process)
        if process.returncode:
            raise ContenderFailedError(contender.module, f"ended with exit status {process.returncode}")
        outcome: Mapping[str, object] = json.loads(output.strip().splitlines()[-1])
        return outcome

    def _limit(self, contender: Contender) -> float:
        return contender.seconds or self.seconds

    def _arguments(self, contender: Contender, place: Place) -> Sequence[str]:
        count = contender.quick_count if self.quick else contender.count
        options = [part for option in contender.options for part in ("--option", option)]
        load = ["--count", str(count), "--seconds", str(self._limit(contender))]
        return ["--database", place.database, "--redis", place.redis, *load, *options]


def _environment(place: Place) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return {**inherited, "DATABASE_URL": place.database, "REDIS_URL": place.redis}


def _end(process: subprocess.Popen[str]) -> None:
    """Let a contender that still runs clean up, then make sure that nothing of its process group is left."""
    if process.poll() is None:
        process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(10)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
