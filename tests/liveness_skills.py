"""Skills that loop, hang, hold the interpreter lock, and kill their own process."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from pathlib import Path

from execution import ledger, performing
from execution.skills import skill

# A gate is a file: a skill waits until it is there, however often it is started.
if os.environ.get("LIVENESS_LOSE_CLAIM"):
    _claim = ledger.claim

    def _lost(step_id, *args, **kwargs):
        """Claim, and let the answer be lost once."""
        answer = _claim(step_id, *args, **kwargs)
        with contextlib.suppress(FileExistsError):
            Path(os.environ["LIVENESS_LOSE_CLAIM"]).touch(exist_ok=False)
            raise ConnectionError("the answer to a claim was lost")
        return answer

    ledger.claim = _lost

if os.environ.get("LIVENESS_LOSE_FINISH"):
    _finish = ledger.finish

    def _unfinished(claim, ending, **kwargs):
        """Fail to write an ending once."""
        with contextlib.suppress(FileExistsError):
            Path(os.environ["LIVENESS_LOSE_FINISH"]).touch(exist_ok=False)
            raise ConnectionError("the ending could not be written")
        return _finish(claim, ending, **kwargs)

    ledger.finish = _unfinished


def _mark(folder: str, name: str) -> int:
    """Leave a file for each start of a skill, and return how many there are."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    (Path(folder) / f"{name}-{os.getpid()}-{time.monotonic_ns()}").touch()
    return len(list(Path(folder).glob(f"{name}-*")))


@skill("liveness.tend", retries=0, breaker="")
def tend(ctx, folder: str) -> None:
    """Record a step every now and then until a file named `open` is there."""
    number = 0
    while not (Path(folder) / "open").exists():
        number += 1
        ctx.once(f"step-{number}", lambda: ctx.attempt)
        time.sleep(0.02)


@skill("liveness.work", retries=0, breaker="")
def work(ctx, count: int = 1_000_000, pause: float = 0.02) -> list[int]:
    """Record a step every now and then, each with the attempt that did it."""
    done = []
    for number in range(count):
        done.append(ctx.once(f"step-{number}", lambda: ctx.attempt))
        time.sleep(pause)
    return done


@skill("liveness.quick", retries=0, breaker="")
def quick(ctx, number: int = 0) -> int:
    """End at once."""
    return number


@skill("liveness.surprise", retries=0, breaker="")
def surprise(ctx, folder: str) -> str:
    """Wait for a file named `open`, once, when others were claimed with it."""
    if len(performing._hand().following) < 3 or list(Path(folder).glob("slow-*")):
        return "quick"
    _mark(folder, "slow")
    while not (Path(folder) / "open").exists():
        time.sleep(0.02)
    return "slow"


@skill("liveness.hold", retries=0, breaker="")
def hold(ctx, folder: str, seconds: float = 60.0) -> str:
    """Do not look at the context until a file named `open` is there."""
    _mark(folder, "hold")
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and not (Path(folder) / "open").exists():
        time.sleep(0.02)
    return "held"


@skill("liveness.deaf", retries=0, breaker="", timebox=3600)
def deaf(ctx, folder: str) -> str:
    """Hold on, whatever is asked."""
    return hold.function(ctx, folder, 600.0)


@skill("liveness.brief", retries=0, breaker="", timebox=1)
def brief(ctx, folder: str, *, looks: bool = False) -> str:
    """Go on beyond the timebox."""
    _mark(folder, "brief")
    while True:
        time.sleep(0.05)
        if looks:
            ctx.once(f"at-{time.monotonic_ns()}", int)


@skill("liveness.stall", retries=0, breaker="", stall_after=2)
def stall(ctx, folder: str) -> str:
    """Stall in the first attempt."""
    if _mark(folder, "stall") == 1:
        time.sleep(600)
    return f"attempt {ctx.attempt}"


@skill("liveness.polite", retries=0, breaker="")
def polite(ctx, folder: str) -> str:
    """Write nothing, and look whether it is cancelled."""
    _mark(folder, "polite")
    deadline = time.monotonic() + 60
    while not ctx.cancelled and time.monotonic() < deadline:
        time.sleep(0.02)
    (Path(folder) / "stopped").touch()
    ctx.once("after", int)
    return "never"


@skill("liveness.grip", retries=0, breaker="")
def grip(ctx, folder: str, seconds: float) -> str:
    """Hold the interpreter lock."""
    _mark(folder, "grip")
    ctypes.PyDLL(None).usleep(int(seconds * 1_000_000))
    return "let go"


@skill("liveness.suicide", retries=0, breaker="")
def suicide(ctx, folder: str, deaths: int = 1000, *, save: bool = False) -> int:
    """Kill the process that performs it, so many times."""
    count = _mark(folder, "suicide")
    if save:
        ctx.save("alive", count)
    if count <= deaths:
        os.kill(os.getpid(), signal.SIGKILL)
    return count


@skill("liveness.spender", retries=0, breaker="", reserve={"cost": "1"})
def spender(ctx, folder: str) -> str:
    """Spend, save and do an effect after the gate has opened."""
    first = _mark(folder, "spender") == 1
    ctx.once("before", int)
    if first:
        (Path(folder) / "ready").touch()
        while not (Path(folder) / "go").exists():
            time.sleep(0.02)
        with contextlib.suppress(BaseException):
            ctx.spend("late", cost="0.25")
        with contextlib.suppress(BaseException):
            ctx.save("late", {"by": "the frozen one"})
        with contextlib.suppress(BaseException):
            ctx.effect("late", (Path(folder) / "effect").touch)
        (Path(folder) / "tried").touch()
        return "frozen"
    return "other"


@skill("liveness.keyed", retries=0, breaker="", key="liveness", key_limit=2)
def keyed(ctx, folder: str, seconds: float = 0.05) -> float:
    """Say how many of its kind run at once."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    mine = Path(folder) / f"in-{ctx.step_id}"
    mine.touch()
    seen = len(list(Path(folder).glob("in-*")))
    if seen > 2:
        (Path(folder) / f"over-{seen}").touch()
    time.sleep(seconds)
    mine.unlink()
    return seen


@skill("liveness.rated", retries=0, breaker="", key="liveness-rate", rate="5/s")
def rated(ctx) -> float:
    """Say when it ran."""
    return time.time()


@skill("liveness.broken", retries=0, breaker="liveness-broken", breaker_threshold=1, breaker_cooldown=600)
def broken(ctx) -> None:
    """Fail."""
    raise RuntimeError("broken")


@skill("liveness.order", retries=0, breaker="")
def order(ctx, path: str, mark: str, seconds: float = 0.0) -> str:
    """Write a line, so that the order of performance is seen."""
    with Path(path).open("a") as file:
        file.write(f"{mark}\n")
    time.sleep(seconds)
    return mark
