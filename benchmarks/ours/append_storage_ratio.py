"""Messages of 4 KB appended to one run: their storage with its indexes, as a share of their own size."""

from benchmarks import command, processes
from benchmarks.ours import project


def measure(load: command.Load) -> command.Measured:
    """Append, sleep, resume; `resume` is the time from the skill's first line to its last twenty messages at hand."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import ledger

    with processes.running([*project.WORKER, *project.SKILLS]):
        ledger.ask("SELECT 1")
        before = _size()
        found = skills.conversation.start(count=load.count).wait(timeout=load.seconds)
    ledger.ask("VACUUM execution_checkpoint")
    own_size = sum(len(skills.message(number).encode()) for number in range(load.count))
    return command.Measured(
        values=[(_size() - before) / own_size],
        also={"resume": [found["resumed_ms"]], "read_all": [found["read_all_ms"]]},
    )


def _size() -> int:
    """Return the bytes of the checkpoints' table with its indexes and long values."""
    from execution import ledger

    return int(ledger.ask("SELECT pg_total_relation_size('execution_checkpoint') AS n")[0].n)


if __name__ == "__main__":
    command.main(measure)
