"""Saving a checkpoint of 5 KB, and loading it."""

from benchmarks import command
from benchmarks.ours import checkpoints


def measure(load: command.Load) -> command.Measured:
    """Measure at this size."""
    return checkpoints.measure(load, size=5000)


if __name__ == "__main__":
    command.main(measure)
