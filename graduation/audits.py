"""Audits: which decisions are looked at whether or not anybody complains, and what such a look weighs.

A decision is drawn by its id alone, so that every process draws the same ones, and nobody draws by what came out. At
least one in ten is drawn: where nobody looks, silence would pass for success.
"""

from __future__ import annotations

import hashlib

from execution.exceptions import OptionInvalid

LEAST_RATE = 0.1


def is_drawn(decision: object, rate: float = LEAST_RATE, *, secret: str = "") -> bool:
    """Whether the decision of this id is audited; with a secret nobody can know beforehand."""
    _check(rate)
    return falls_within(decision, rate, secret=secret)


def falls_within(thing: object, share: float, *, secret: str = "") -> bool:
    """Whether the thing of this id is among the share that is drawn; draws with other secrets are independent of it."""
    drawn = hashlib.blake2b(str(thing).encode(), key=secret.encode()[:64], digest_size=8).digest()
    return int.from_bytes(drawn) < share * 2**64


def weight(rate: float, least_rate: float = LEAST_RATE) -> float:
    """Return what an outcome weighs that was drawn at this rate, where others are drawn at the least rate.

    Decisions that are drawn more often weigh less, so that all together speak of the decisions as they were made.
    """
    _check(least_rate)
    if not least_rate <= rate <= 1:
        raise OptionInvalid(f"an audit's rate is {rate!r}; it is at least {least_rate} and at most 1")
    return least_rate / rate


def _check(rate: float) -> None:
    if not LEAST_RATE <= rate <= 1:
        raise OptionInvalid(f"an audit's rate is {rate!r}; it is at least {LEAST_RATE} and at most 1")
