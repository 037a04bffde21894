"""Recorded steps per second in one skill: `ctx.once` with 1 KB, in a real worker."""

from benchmarks import command, processes
from benchmarks.ours import project


def measure(load: command.Load) -> command.Measured:
    """Start the skill on a worker and return its own rate."""
    project.open_for(load)
    from benchmarks.ours import skills

    with processes.running([*project.WORKER, *project.SKILLS]):
        seconds = skills.report.start(count=load.count).wait(timeout=load.seconds)
    return command.Measured.rate(load.count, seconds)


if __name__ == "__main__":
    command.main(measure)
