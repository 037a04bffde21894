"""A chain of ten steps by Celery's own `chain`, kept in the ledger: start to the last result, idle workers."""

import time

from benchmarks import command, processes
from benchmarks.ours import project


def measure(load: command.Load) -> command.Measured:
    """Run one chain at a time and wait for its last result."""
    project.open_for(load)
    from celery import chain

    from benchmarks.ours import skills

    taken = []
    with processes.running([*project.WORKER, *project.SKILLS]):
        for number in range(load.count + 5):
            began = time.perf_counter()
            chain(skills.link.s(0), *(skills.link.s() for _ in range(9))).delay().get(timeout=load.seconds)
            if number >= 5:
                taken.append((time.perf_counter() - began) * 1000)
    return command.Measured(values=taken)


if __name__ == "__main__":
    command.main(measure)
