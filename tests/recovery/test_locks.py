"""Locks: one holder at a time, a token that rises with each change, and nothing for who comes late."""

from datetime import timedelta

import pytest
from django.utils import timezone

from recovery import locks
from recovery.models import DistributedLock
from tests.hands import side_by_side

pytestmark = pytest.mark.django_db(transaction=True)


def run_out():
    """Let the lock's time run out."""
    DistributedLock.objects.update(until=timezone.now() - timedelta(seconds=1))


def row():
    """Return the lock's row."""
    return DistributedLock.objects.get()


def test_one_holder_of_many():
    """Of twelve that ask at once one is given the lock."""
    held = side_by_side(*(lambda: locks.acquire("a", ttl_seconds=30) for _ in range(12)))
    assert len([one for one in held if one]) == 1
    assert row().acquired_count == row().token == 1


def test_token_rises_at_each_change():
    """A new holder's token is higher, after a release and after the time has run out; the same holder keeps its own."""
    first = locks.acquire("a", ttl_seconds=30)
    assert locks.acquire("a", ttl_seconds=30, holder=first.holder) == first
    assert locks.acquire("a", ttl_seconds=30) is None
    assert locks.release(first)
    second = locks.acquire("a", ttl_seconds=30)
    run_out()
    third = locks.acquire("a", ttl_seconds=30, holder=second.holder)
    assert [first.token, second.token, third.token] == [1, 2, 3]
    assert (row().acquired_count, row().lost_count) == (3, 1)


def test_only_its_holder_extends_and_releases():
    """Who lost the lock can neither extend it nor release it from under the next one."""
    first = locks.acquire("a", ttl_seconds=30)
    assert locks.extend(first, ttl_seconds=60)
    run_out()
    assert not locks.extend(first, ttl_seconds=60), "its time has run out, though nobody has taken it"
    second = locks.acquire("a", ttl_seconds=30)
    assert not locks.extend(first, ttl_seconds=60)
    assert not locks.release(first)
    assert row().holder == second.holder
    assert locks.release(second)
    assert not locks.release(second)
    assert (row().holder, row().until) == ("", None)


def test_release_after_its_time_counts_as_lost():
    """A holder that lets go too late is told that it held the lock still, and it counts as lost."""
    held = locks.acquire("a", ttl_seconds=30)
    run_out()
    assert locks.release(held)
    assert row().lost_count == 1
