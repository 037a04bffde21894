"""A million items of one job: what the processes that spawn and perform them grow by, and whether the pace holds."""

import resource
import time
from itertools import pairwise

import psutil

from benchmarks import command, processes
from benchmarks.ours import project
from benchmarks.tally import Tally

TENTHS = 10


def measure(load: command.Load) -> command.Measured:
    """Spawn and perform so many items; growth counts from the first tenth to the end, in the largest process."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import jobs

    with Tally(), processes.running([*project.WORKER, *project.SKILLS]) as workers:
        jobs.wait(jobs.spawn(skills.work, ({"number": number} for number in range(5000)), parallel=2), timeout=60)
        before = _peak_mb()
        began = time.monotonic()
        job = jobs.spawn(skills.work, ({"number": number} for number in range(load.count)), parallel=2)
        spawning_mb, spawned = _peak_mb() - before, time.monotonic()
        marks: list[tuple[float, dict[int, float]]] = [(spawned, _sizes_mb(workers))]
        while (progress := jobs.progress(job)).ended_at is None:
            if time.monotonic() - began > load.seconds:
                raise TimeoutError(f"{progress.left_count} of {load.count} items are left after {load.seconds} s")
            if progress.completed_count * TENTHS >= len(marks) * load.count:
                marks.append((time.monotonic(), _sizes_mb(workers)))
            time.sleep(0.1)
        ended = time.monotonic()
        last = _sizes_mb(workers)
    tenths = [after[0] - earlier[0] for earlier, after in pairwise(marks)]
    return command.Measured(
        values=[max(last[pid] - size for pid, size in marks[1][1].items() if pid in last)],
        also={
            "spawning_mb": [spawning_mb],
            "items_per_s": [load.count / (ended - began)],
            "slowdown": [sum(tenths[-2:]) / sum(tenths[:2])],
        },
    )


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _sizes_mb(workers: list) -> dict[int, float]:
    """Return the memory of each process of the workers: with what a fork shares, whose sharing ends page by page."""
    found = {}
    for worker in workers:
        for process in (psutil.Process(worker.pid), *psutil.Process(worker.pid).children(recursive=True)):
            found[process.pid] = process.memory_info().rss / 2**20
    return found


if __name__ == "__main__":
    command.main(measure)
