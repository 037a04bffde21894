"""The demo as a newcomer meets it: one command, no input, and nothing left behind."""

import contextlib
import os
import re
import signal
import subprocess
import sys

import psutil
import pytest

from tests.conftest import REPOSITORY, wait_until


@pytest.fixture
def demo(tmp_path):
    """Start a demo in a base folder of this test's own; whatever it leaves is ended."""
    started = []

    def start():
        base, shown = tmp_path / f"base-{len(started)}", tmp_path / f"shown-{len(started)}.txt"
        environment = {name: value for name, value in os.environ.items() if not name.startswith("CELERIAC_")}
        with shown.open("w") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "config.demo"],
                cwd=REPOSITORY,
                env=environment | {"CELERIAC_HOME": str(base)},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        started.append(Demo(process, base, shown))
        return started[-1]

    yield start
    for one in started:
        one.process.kill()
        one.process.wait()
        for process in one.leftovers():
            process.kill()


class Demo:
    """One demo that runs."""

    def __init__(self, process, base, shown):
        self.process, self.base, self.shown = process, base, shown

    def said(self):
        """Return what it has shown so far."""
        return self.shown.read_text()

    def leftovers(self):
        """Return the processes that belong to it, besides itself."""
        return [process for process in psutil.process_iter() if process.pid != self.process.pid and self._owns(process)]

    def _owns(self, process):
        with contextlib.suppress(psutil.Error):
            home = process.environ().get("CELERIAC_HOME", "")
            return str(self.base) in (home, *process.cmdline()) or f"{self.base}/" in " ".join(
                [home, process.cwd(), *process.cmdline()]
            )
        return False


def test_demo_survives_a_kill_and_a_freeze(demo):
    """It ends by itself with status 0, says who took over from where, proves its claim, and leaves nothing."""
    one = demo()
    assert one.process.wait(110) == 0, one.said()
    said = one.said()
    assert re.search(r"kill -9 worker-\d, .* in the middle of chapter 4", said)
    assert re.search(r"worker-\d took over [\d,]+ ms after the kill, from checkpoint chapter-3", said)
    assert re.search(r"SIGSTOP worker-\d in the middle of chapter 8", said)
    assert re.search(r"worker-3 took over [\d,]+ ms after the freeze, from checkpoint chapter-7", said)
    assert re.search(r"writes chapter 8 with epoch 3; refused, the step is at epoch 5", said)
    assert "Each of the 12 steps performed once" in said
    assert "make up" in said
    assert "\x1b" not in said, "no terminal, so plain lines"
    assert one.leftovers() == []
    assert list(one.base.iterdir()) == []


@pytest.mark.slow
def test_two_demos_at_once_do_not_meet(demo):
    """Each has servers of its own, and both end well."""
    both = [demo(), demo()]
    assert [one.process.wait(115) for one in both] == [0, 0], [one.said() for one in both]
    assert [one.leftovers() for one in both] == [[], []]


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        pytest.param("for this demo alone", signal.SIGINT, marks=pytest.mark.slow, id="servers starting"),
        pytest.param("up after", signal.SIGTERM, id="ledger migrating"),
        pytest.param("ledger migrated", signal.SIGINT, marks=pytest.mark.slow, id="workers starting"),
        pytest.param("SIGSTOP", signal.SIGINT, marks=pytest.mark.slow, id="a worker frozen"),
    ],
)
def test_demo_interrupted_leaves_nothing(demo, moment, number):
    """Whenever Ctrl-C or a termination comes, every process ends and the home is gone."""
    one = demo()
    wait_until(lambda: moment in one.said(), timeout=60)
    one.process.send_signal(number)
    assert one.process.wait(60) == 130, one.said()
    wait_until(lambda: not one.leftovers(), timeout=10)
    assert list(one.base.iterdir()) == []
