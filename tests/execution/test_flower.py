"""Flower shows skills by their names, with the step's id, also those that no message was sent for."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request

import psutil
import pytest

from execution import runs
from execution.models import Attempt
from tests.execution import seen
from tests.workers import REPOSITORY, test_environment

SKILLS = "tests.skills,tests.execution.seen"


class Flower:
    """A Flower on the loopback address, and its API."""

    def __init__(self, port, log):
        """Start it; its ears are open once it answers."""
        self.url = f"http://127.0.0.1:{port}"
        with log.open("wb") as file:
            self.process = psutil.Popen(
                [sys.executable, "-m", "celery", "-A", "config", "flower", "--address=127.0.0.1", f"--port={port}"],
                cwd=REPOSITORY,
                env=os.environ | test_environment() | {"FLOWER_UNAUTHENTICATED_API": "true"},
                stdout=file,
                stderr=file,
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )

    def get(self, path):
        """Return an answer of the API, or None while there is none."""
        try:
            with urllib.request.urlopen(self.url + path, timeout=5) as answer:  # noqa: S310 - ours
                return json.load(answer)
        except OSError:
            return None

    def stop(self):
        """End it and what it started."""
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)


@pytest.fixture
def narrow(settings):
    """A window of three messages, so that most steps follow without one."""
    settings.CELERIAC = {**settings.CELERIAC, "window": 3}
    return {"CELERIAC_WINDOW": "3"}


@pytest.fixture
def flower(transactional_db, tmp_path, eventually):
    """A Flower that listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    started = Flower(port, tmp_path / "flower.log")
    eventually(lambda: started.get("/api/tasks") is not None, timeout=40)
    yield started
    started.stop()


def test_skill_by_its_name(flower, workers, eventually):
    """A skill's step is there by the skill's name, under the step's id, and ends as SUCCESS."""
    workers("shown", skills=SKILLS, concurrency=1)
    run = runs.start(seen.quick, {"number": 3})
    runs.wait(run, timeout=20)
    found = eventually(
        lambda: info if (info := flower.get(f"/api/task/info/{run.id}")) and info["state"] == "SUCCESS" else None
    )
    assert (found["name"], found["uuid"]) == ("seen.quick", str(run.id))


def test_steps_without_messages(flower, workers, eventually, narrow):
    """Steps that followed in the same process are shown as received, started and succeeded, by that worker."""
    worker = workers("shown", skills=SKILLS, concurrency=1, environment=narrow)
    ids = runs.start_many(seen.quick, [{"number": number} for number in range(30)])
    for run_id in ids:
        runs.wait(run_id, timeout=20)
    assert Attempt.objects.filter(run_id__in=ids).count() == 30
    shown = eventually(
        lambda: (
            tasks
            if (tasks := flower.get("/api/tasks?limit=100&taskname=seen.quick"))
            and [task["state"] for task in tasks.values()] == ["SUCCESS"] * 30
            else None
        )
    )
    assert set(shown) == {str(run_id) for run_id in ids}
    assert all(task["received"] and task["started"] and task["succeeded"] for task in shown.values())
    assert {task["worker"].partition("@")[0] for task in shown.values()} == {"shown"}
    assert worker.log().count(" received") < 30, "every step came by a message: nothing was proven"


def test_failing_step_without_a_message(flower, workers, eventually, narrow):
    """A failure that followed in the same process is shown with its error."""
    worker = workers("shown", skills=SKILLS, concurrency=1, environment=narrow)
    ids = runs.start_many(seen.fail, [{} for _ in range(8)])
    for run_id in ids:
        info = eventually(
            lambda run_id=run_id: (
                found if (found := flower.get(f"/api/task/info/{run_id}")) and found["state"] == "FAILURE" else None
            )
        )
        assert "it cannot be done" in info["exception"]
    assert worker.log().count(" received") < 8, "every step came by a message: nothing was proven"
