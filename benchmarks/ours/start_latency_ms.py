"""Start to the first line of the skill, with an idle worker: milliseconds by the clock that both processes share."""

import time

from benchmarks import command, processes
from benchmarks.ours import project


def measure(load: command.Load) -> command.Measured:
    """Start one run at a time, each after the last has ended and the worker is idle again."""
    project.open_for(load)
    from benchmarks.ours import skills

    taken = []
    with processes.running([*project.WORKER, *project.SKILLS]):
        for number in range(load.count + 20):
            began = time.monotonic()
            run = skills.first_line.start()
            first_line = run.wait(timeout=load.seconds)
            if number >= 20:
                taken.append((first_line - began) * 1000)
            time.sleep(0.02)
    return command.Measured(values=taken)


if __name__ == "__main__":
    command.main(measure)
