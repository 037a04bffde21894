"""Items of one job per second, from the call that spawns them to the job's recorded end, through two pool processes."""

import time

from benchmarks import command, processes
from benchmarks.ours import project
from benchmarks.tally import Tally


def measure(load: command.Load) -> command.Measured:
    """Spawn so many items as one stream and wait until each is recorded; the same body as every contender's job."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import jobs

    with Tally() as tally, processes.running([*project.WORKER, *project.SKILLS]):
        jobs.wait(jobs.spawn(skills.work, ({"number": number} for number in range(1000)), parallel=2), timeout=60)
        began = time.perf_counter()
        job = jobs.spawn(skills.work, ({"number": number} for number in range(load.count)), parallel=2)
        spawned = time.perf_counter()
        progress = jobs.wait(job, timeout=load.seconds)
        ended = time.perf_counter()
        tally.wait_for(1000 + load.count, seconds=5)
    if progress.completed_count != load.count:
        raise RuntimeError(f"{progress.completed_count} of {load.count} items were completed")
    return command.Measured(
        values=[load.count / (ended - began)],
        also={"spawned": [load.count / (spawned - began)], "performed": [load.count / (ended - spawned)]},
    )


if __name__ == "__main__":
    command.main(measure)
