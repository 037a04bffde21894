"""A workflow of ten steps, each of which takes what the one before it returned: start to its result, idle workers."""

import time

from benchmarks import command, processes
from benchmarks.ours import project

LENGTH = 10
LINKS = "\n".join(
    f'  s{place}: {{skill: bench.link, with: {{number: "${{steps.s{place - 1}}}"}}}}' for place in range(1, LENGTH)
)
GRAPH = f"name: bench-chain\nsteps:\n  s0: {{skill: bench.link, with: {{number: 0}}}}\n{LINKS}\n"


def measure(load: command.Load) -> command.Measured:
    """Run one graph at a time and wait for its result."""
    project.open_for(load)
    from benchmarks.ours import skills  # noqa: F401 - registers them
    from execution import runs, workflows
    from execution.workflows import catalog

    taken = []
    with processes.running([*project.WORKER, *project.SKILLS]):
        graph = catalog.register(workflows.read(GRAPH))
        for number in range(load.count + 5):
            began = time.perf_counter()
            if runs.start(graph).wait(timeout=load.seconds) != LENGTH:
                raise AssertionError("the chain returned something else")
            if number >= 5:
                taken.append((time.perf_counter() - began) * 1000)
    return command.Measured(values=taken)


if __name__ == "__main__":
    command.main(measure)
