"""Keep one process of `make up` running: start it again when it dies, and end it gently when asked.

It stands between the process manager, which signals whole process groups, and a Celery worker, whose main process
must get the signal alone: its pool children would die of it in mid-step. What has not ended after so many seconds is
killed: beat stores its schedule in its signal handler, and waits for ever for a connection that it was just using.
Run by path, so that it imports nothing: `keep.py SECONDS COMMAND...`.
"""

import signal
import subprocess
import sys
import time

PAUSE_SECONDS = 1.0


class Keeper:
    """One command, kept running until a signal ends it."""

    def __init__(self, command: list[str], *, grace_seconds: int) -> None:
        self.command = command
        self.grace_seconds = grace_seconds
        self.process: subprocess.Popen[bytes] | None = None
        self.is_ending = False

    def end(self, *_: object) -> None:
        """Pass the wish to end on to the process, and start it no more."""
        if self.is_ending:
            return
        self.is_ending = True
        signal.alarm(self.grace_seconds)
        if self.process is not None:
            self.process.terminate()

    def kill(self, *_: object) -> None:
        """End the process that did not end by itself."""
        if self.process is not None:
            self.process.kill()

    def run(self) -> int:
        """Start the command again and again, until asked to end; return its last status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self.end)
        signal.signal(signal.SIGALRM, self.kill)
        status = 0
        while not self.is_ending:
            status = self._run_once()
            if not self.is_ending:
                sys.stdout.write(f"ended with status {status}; starting it again\n")
                sys.stdout.flush()
                time.sleep(PAUSE_SECONDS)
        return max(status, 0)

    def _run_once(self) -> int:
        self.process = subprocess.Popen(self.command, start_new_session=True)
        if self.is_ending:
            self.process.terminate()
        return self.process.wait()


if __name__ == "__main__":
    sys.exit(Keeper(sys.argv[2:], grace_seconds=int(sys.argv[1])).run())
