"""`kill -9` of a whole worker, its keeper too, to the first new checkpoint elsewhere: milliseconds.

Two workers are up, and one run saves a checkpoint every few milliseconds. Whichever worker performs it is killed, at
a moment that has nothing to do with the ticks; the other has a free slot. Then the dead one is replaced, and so on.
The clock is the database's. Nothing is killed before the server is older than a lease: beside a younger one nobody is
thought dead: its start may be what cut the locks.
"""

import contextlib
import functools
import random
import subprocess
import time
from collections.abc import Callable
from typing import Any, TypeVar

import psutil

from benchmarks import command, processes
from benchmarks.ours import project

T = TypeVar("T")


def measure(load: command.Load) -> command.Measured:
    """Kill a worker as often as asked."""
    project.open_for(load)
    taken = []
    with contextlib.ExitStack() as stack:
        crew = [_worker(stack) for _ in range(2)]
        _wait(_is_grown, load.seconds)
        for _ in range(load.count):
            _wait(functools.partial(_registered, crew), load.seconds)
            taken.append(_kill_once(crew, load.seconds))
            crew = [worker for worker in crew if worker.poll() is None]
            crew.append(_worker(stack))
    return command.Measured(values=taken)


def _is_grown() -> bool:
    """Tell whether the server is older than a lease."""
    return bool(_ask("SELECT clock_timestamp() - pg_postmaster_start_time() > interval '31 seconds' AS so")[0].so)


def _worker(stack: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    return stack.enter_context(processes.running([*project.WORKER, *project.SKILLS]))[0]


def _registered(crew: list[subprocess.Popen[bytes]]) -> bool:
    """Tell whether every worker of the crew is known, seen lately, and ready for messages."""
    recent = "gone_at IS NULL AND seen_at > clock_timestamp() - interval '2 seconds'"
    rows = _ask(f"SELECT pid FROM execution_worker WHERE {recent}")  # noqa: S608 - literal parts
    return {worker.pid for worker in crew} <= {row.pid for row in rows}


def _kill_once(crew: list[subprocess.Popen[bytes]], seconds: float) -> float:
    """Start a run, kill the worker that performs it, and return how long it took to go on elsewhere."""
    from benchmarks.ours import skills
    from execution import runs

    run = skills.save_often.start()
    _wait(lambda: _ask("SELECT 1 FROM execution_checkpoint WHERE step_id = %s", run.id), seconds)
    time.sleep(1.0 + random.random())
    performer = _ask("SELECT pid FROM execution_attempt WHERE step_id = %s", run.id)[0].pid
    victim = next(worker for worker in crew if performer in _pids(worker))
    killed_at = _ask("SELECT clock_timestamp() AS at")[0].at
    _kill(victim)
    first = "SELECT min(saved_at) AS at FROM execution_checkpoint WHERE step_id = %s AND epoch > 1"
    resumed_at = _wait(lambda: _ask(first, run.id)[0].at, seconds)
    runs.cancel(run)
    return float((resumed_at - killed_at).total_seconds() * 1000)


def _pids(worker: subprocess.Popen[bytes]) -> set[int]:
    return {child.pid for child in psutil.Process(worker.pid).children(recursive=True)}


def _kill(worker: subprocess.Popen[bytes]) -> None:
    """Kill all of a worker's processes: the main one, its pool and its keeper."""
    everyone = [*psutil.Process(worker.pid).children(recursive=True), psutil.Process(worker.pid)]
    for process in everyone:
        with contextlib.suppress(psutil.NoSuchProcess):
            process.kill()
    worker.wait()


def _ask(sql: Any, *parameters: Any) -> list[Any]:
    from execution import ledger

    return ledger.ask(sql, parameters)


def _wait(condition: Callable[[], T], seconds: float) -> T:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > deadline:
            raise TimeoutError(f"still not so after {seconds:.0f} s: {condition}")
        time.sleep(0.01)
    return found


if __name__ == "__main__":
    command.main(measure)
