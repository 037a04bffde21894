"""Webhooks per second to a receiver on this machine, eight at once: signed, posted, completed."""

import time

from benchmarks import command
from benchmarks.ours import webhooks


def measure(load: command.Load) -> command.Measured:
    """Deliver so many messages that are due, and count from the first claim to the last completion."""
    webhooks.open_for(load)
    from recovery import courier, outbox
    from recovery import webhooks as verbs

    with webhooks.receiving() as receiver:
        verbs.add("shop", receiver.url("shop"), kinds=["signal.*"])
        webhooks.happen(20)
        courier.lead()
        webhooks.happen(load.count)
        began = time.perf_counter()
        while outbox.publish():
            pass
        published = time.perf_counter()
        courier.lead()
        ended = time.perf_counter()
        receiver.wait_for(load.count + 20, seconds=5)
        left = outbox.counts()
    if left.pending or left.failed:
        raise RuntimeError(f"not all were delivered: {left}")
    return command.Measured(
        values=[load.count / (ended - published)], also={"published": [load.count / (published - began)]}
    )


if __name__ == "__main__":
    command.main(measure)
