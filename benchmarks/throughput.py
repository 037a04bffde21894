"""How single-step runs per second are measured, the same for everyone.

Workers are up and warm. One producer process, this one, then starts N jobs while the workers perform them: one at a
time by the library's usual call, or, as another figure, all together by the call that it has for many. The clock
starts before the first call and stops when the last job has ended and, where the library records endings, when the last
one is recorded.
"""

import time
from collections.abc import Callable

from benchmarks.tally import Tally

WARM_UP = 40


def _nothing(_: int) -> None:
    pass


def seconds_for(
    count: int,
    start: Callable[[int], object],
    *,
    tally: Tally,
    limit_seconds: float,
    wait_recorded: Callable[[int], None] = _nothing,
    start_all: Callable[[range], object] | None = None,
) -> float:
    """Warm the workers up, then return how long `count` jobs took from the first start to the last recorded end.

    With `start_all` they are started together.
    """
    for number in range(WARM_UP):
        start(number)
    tally.wait_for(WARM_UP, seconds=limit_seconds)
    wait_recorded(WARM_UP)
    began = time.perf_counter()
    if start_all is not None:
        start_all(range(count))
    else:
        for number in range(count):
            start(number)
    tally.wait_for(WARM_UP + count, seconds=limit_seconds)
    wait_recorded(WARM_UP + count)
    return time.perf_counter() - began


def poll(recorded: Callable[[], int], expected: int, *, seconds: float = 30.0) -> None:
    """Ask `recorded` until it has reached `expected`."""
    deadline = time.monotonic() + seconds
    while (counted := recorded()) < expected:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{counted} of {expected} endings were recorded within {seconds:.0f} s")
        time.sleep(0.01)
