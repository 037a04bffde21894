"""The pool follows the ledger's backlog."""

import pytest

from execution import runs
from execution.autoscale import wanted
from execution.models import Run, Worker
from tests import liveness_skills as skills


@pytest.mark.parametrize(
    ("processes", "ready", "everywhere", "busy", "expected"),
    [
        (2, 0, 2, 0, 1),
        (2, 10, 2, 2, 2),
        (2, 11, 2, 2, 3),
        (2, 100, 2, 2, 20),
        (2, 100, 10, 2, 4),
        (4, 7, 4, 4, 4),
        (4, 7, 4, 3, 3),
        (4, 8, 4, 3, 4),
        (4, 0, 4, 4, 4),
    ],
)
def test_wanted_processes(processes, ready, everywhere, busy, expected):
    """More above five ready steps a process, fewer below two, never fewer than are busy, by share of all hosts."""
    assert wanted(processes, ready=ready, everywhere=everywhere, busy=busy) == expected


def test_worker_scales_with_the_backlog(workers, eventually, tmp_path):
    """A pool of one grows to its most while a backlog waits, and shrinks again when it is gone."""
    worker = workers(
        skills="tests.liveness_skills", options=("--autoscale=4,1",), environment={"AUTOSCALE_KEEPALIVE": "1"}
    )
    assert len(worker.pool_children()) == 1
    runs.start_many(skills.order, [{"path": str(tmp_path / "o"), "mark": "x", "seconds": 0.05} for _ in range(200)])
    eventually(lambda: len(worker.pool_children()) == 4)
    eventually(lambda: Worker.objects.get().slot_count == 4)
    eventually(lambda: Run.objects.filter(state="completed").count() == 200, timeout=40)
    eventually(lambda: len(worker.pool_children()) == 1, timeout=30)
    assert "Scaling up" in worker.log()
