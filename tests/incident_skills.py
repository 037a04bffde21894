"""A shop whose till can be taken away, for the story of an incident."""

from __future__ import annotations

from pathlib import Path

from execution.skills import skill


class TillAway(ConnectionError):
    """The till does not answer."""


@skill("till.charge", calls=["till"], retries=0, breaker="")
def charge(ctx, folder: str, amount: int) -> int:
    """Take money, unless the till is away."""
    place = Path(folder)
    if (place / "away").exists():
        raise TillAway("the till does not answer")
    with (place / "taken").open("a") as book:
        book.write(f"{amount}\n")
    return amount
