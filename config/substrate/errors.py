"""The one error of the substrate: it says what failed, where the log is, and what to do."""

from pathlib import Path

LAST_LINES = 12


class SubstrateError(RuntimeError):
    """An embedded server cannot be started, reached or stopped."""


def with_log(message: str, log: Path, advice: str) -> SubstrateError:
    """Build the error for a server that failed, with the end of its log."""
    lines = "\n".join(f"    {line}" for line in tail(log)) or "    (empty)"
    return SubstrateError(f"{message}\nThe last lines of {log}:\n{lines}\n{advice}")


def tail(log: Path, count: int = LAST_LINES) -> list[str]:
    """Return the last lines of a log, or none when there is no log yet."""
    try:
        return log.read_text(errors="replace").splitlines()[-count:]
    except OSError:
        return []
