"""From an event's commit to its receipt at ten endpoints, while an eleventh hangs; and the same while that one answers.

A tick every two seconds, as beat sends them. The same load runs twice in each round, in either order.
"""

import threading
import time

from benchmarks import command
from benchmarks.ours import webhooks

ENDPOINTS = 10
EVENTS_PER_S = 3


def measure(load: command.Load) -> command.Measured:
    """Return the milliseconds of each delivery with a hanging endpoint beside; those without are a further series."""
    webhooks.open_for(load)
    order = ["beside", "alone"] if int(time.time()) % 2 else ["alone", "beside"]
    found = {name: _latencies(load, hangs=name == "beside") for name in order}
    ranked = {name: sorted(values) for name, values in found.items()}
    p99 = {name: values[int(len(values) * 0.99)] for name, values in ranked.items()}
    p50 = {name: values[len(values) // 2] for name, values in ranked.items()}
    also = {
        "alone": found["alone"],
        "alone_p99": [p99["alone"]],
        "ratio_p50": [p50["beside"] / p50["alone"]],
        "ratio_p99": [p99["beside"] / p99["alone"]],
    }
    return command.Measured(values=found["beside"], also=also)


def _latencies(load: command.Load, *, hangs: bool) -> list[float]:
    from recovery import webhooks as verbs
    from recovery.models import WebhookEndpoint

    names = [f"e{number}" for number in range(ENDPOINTS)] + ["hang" if hangs else "eleventh"]
    with webhooks.receiving() as receiver, _ticking():
        for name in names:
            verbs.add(name, receiver.url(name), kinds=["signal.*"])
        for _ in range(load.count // ENDPOINTS):
            webhooks.happen(1)
            time.sleep(1 / EVENTS_PER_S)
        receiver.wait_for(load.count // ENDPOINTS * (ENDPOINTS + (not hangs)), seconds=load.seconds / 4)
        seen = receiver.seen()
    WebhookEndpoint.objects.all().delete()
    # The first tick comes when it comes; what follows is the steady state that is compared.
    return [value for name in names if name[1:].isdigit() for value in seen[name][EVENTS_PER_S * 3 :]]


class _ticking:  # noqa: N801 - a block, not a thing
    """Tick every two seconds while the block lasts, as beat and a worker do."""

    def __enter__(self) -> None:
        self._ends = threading.Event()
        self._thread = threading.Thread(target=self._tick, daemon=True)
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        from recovery import courier

        self._ends.set()
        self._thread.join()
        courier.stop()

    def _tick(self) -> None:
        from execution import ledger
        from recovery import courier

        while not self._ends.wait(2.0):
            courier.CYCLE.run()
        ledger.close()


if __name__ == "__main__":
    command.main(measure)
