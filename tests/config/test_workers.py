"""The tests' own workers do as they are told."""

import psutil
import pytest
from django.db import connection

from config import celery_app


def test_worker_dies_with_its_pool(workers, eventually):
    """Killing a worker leaves none of its processes."""
    worker = workers("victim", skills="")
    children = worker.children
    assert worker.pool_children()
    worker.kill()
    eventually(lambda: not any(psutil.pid_exists(child.pid) for child in children))
    assert not worker.is_alive


def test_worker_freezes_and_wakes(workers, eventually):
    """A frozen worker answers nothing, and goes on when woken."""
    worker = workers("sleeper", skills="")
    worker.freeze()
    eventually(lambda: psutil.Process(worker.pid).status() == psutil.STATUS_STOPPED)
    worker.wake()
    eventually(lambda: celery_app.control.ping(timeout=0.5))
    assert worker.stop() == 0


def test_worker_replaces_a_killed_child(workers, eventually):
    """Killing one pool child leaves the worker alive, and the pool makes another."""
    worker = workers("parent", skills="", concurrency=1)
    victim = worker.kill_child()
    eventually(lambda: [child for child in worker.pool_children() if child.pid != victim])
    assert worker.is_alive


def test_worker_uses_the_test_database(workers):
    """Another process on this test's environment sees this test's database."""
    assert str(connection.settings_dict["NAME"]).startswith("test_")
    assert "ready." in workers("reader", skills="").log()


def test_worker_that_cannot_start(workers):
    """A worker that dies at its start says why."""
    with pytest.raises(AssertionError, match="no_such_module"):
        workers("broken", skills="no_such_module")
