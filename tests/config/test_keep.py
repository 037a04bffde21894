"""The keeper of one process of `make up`."""

import signal
import subprocess
import sys
import time

import pytest

from config import keep

STUBBORN = "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('up', flush=True)\nwhile True: time.sleep(1)"
GENTLE = "import signal, sys, time\nsignal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nprint('up', flush=True)\nwhile True: time.sleep(1)"


@pytest.mark.parametrize(("program", "status"), [(STUBBORN, 0), (GENTLE, 7)], ids=["stubborn", "gentle"])
def test_process_ends_when_asked(program, status):
    """What does not end within its grace is killed, what does may take its time; neither is left behind."""
    command = [sys.executable, keep.__file__, "1", sys.executable, "-c", program]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as keeper:
        assert keeper.stdout.readline() == "up\n"
        began = time.monotonic()
        keeper.send_signal(signal.SIGTERM)
        assert keeper.stdout.read() == "", "the pipe closes when nobody is left who holds it"
        assert keeper.wait(timeout=5) == status
    assert (time.monotonic() - began > 0.9) is (program == STUBBORN)
