"""A list of a thousand entries in a workflow: start to the gathered result, idle workers."""

import time

from benchmarks import command, processes
from benchmarks.ours import project

WIDTH = 1000
GRAPH = f"""
name: bench-fan-out
steps:
  entries: {{skill: bench.numbers, with: {{count: {WIDTH}}}}}
  work: {{skill: bench.link, foreach: "${{steps.entries}}", with: {{number: "${{item}}"}}}}
"""


def measure(load: command.Load) -> command.Measured:
    """Run one graph at a time and wait for the list of its results."""
    project.open_for(load)
    from benchmarks.ours import skills  # noqa: F401 - registers them
    from execution import runs, workflows
    from execution.workflows import catalog

    taken = []
    with processes.running([*project.WORKER, *project.SKILLS]):
        graph = catalog.register(workflows.read(GRAPH))
        for number in range(load.count + 1):
            began = time.perf_counter()
            found = runs.start(graph).wait(timeout=load.seconds)
            if found != list(range(1, WIDTH + 1)):
                raise AssertionError(f"the graph returned {len(found)} entries")
            if number >= 1:
                taken.append((time.perf_counter() - began) * 1000)
    return command.Measured(values=taken)


if __name__ == "__main__":
    command.main(measure)
