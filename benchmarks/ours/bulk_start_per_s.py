"""Bulk start: runs per second into the ledger by `runs.start_many`, committed, no worker."""

import time

from benchmarks import command
from benchmarks.ours import project


def measure(load: command.Load) -> command.Measured:
    """Open the runs from a generator, a thousand at a time."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import runs

    runs.start_many(skills.work, ({"number": number} for number in range(1000)))
    began = time.perf_counter()
    runs.start_many(skills.work, ({"number": number} for number in range(load.count)))
    return command.Measured.rate(load.count, time.perf_counter() - began)


if __name__ == "__main__":
    command.main(measure)
