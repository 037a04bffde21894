"""Single-step runs per second, start to finish, through two pool processes.

With the option `together` they are started by one `start_many`.
"""

from benchmarks import command, processes, throughput
from benchmarks.ours import project
from benchmarks.tally import Tally


def measure(load: command.Load) -> command.Measured:
    """Start runs while the worker performs them, until the last is completed in the ledger."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import runs
    from execution.models import Run, RunState

    def completed() -> int:
        return Run.objects.filter(state=RunState.COMPLETED).count()

    def start_all(numbers: range) -> None:
        runs.start_many(skills.work, ({"number": number} for number in numbers))

    with Tally() as tally, processes.running([*project.WORKER, *project.SKILLS]):
        seconds = throughput.seconds_for(
            load.count,
            lambda number: skills.work.start(number=number),
            tally=tally,
            limit_seconds=load.seconds,
            wait_recorded=lambda expected: throughput.poll(completed, expected),
            start_all=start_all if "together" in load.options else None,
        )
    return command.Measured.rate(load.count, seconds)


if __name__ == "__main__":
    command.main(measure)
