"""Saving and loading checkpoints of a size, inside a real worker; shared by the two figures."""

import time

from benchmarks import command, processes
from benchmarks.ours import project


def measure(load: command.Load, *, size: int) -> command.Measured:
    """Return the milliseconds that each save took, and those of loading the latest one."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import ledger

    with processes.running([*project.WORKER, *project.SKILLS]):
        run = skills.checkpoints.start(size=size, count=load.count)
        saves = run.wait(timeout=load.seconds)
    loads = []
    for number in range(load.count + 20):
        began = time.perf_counter()
        rows = ledger.ask(
            "SELECT data FROM execution_checkpoint WHERE step_id = %s AND token = %s", [run.id, f"page-{number}"]
        )
        ledger.unpack(rows[0].data)
        loads.append((time.perf_counter() - began) * 1000)
    return command.Measured(values=saves, also={"load": loads[20:]})
