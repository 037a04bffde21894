"""A process that claims candidates and evaluates them, with a stop on the way: `python -m tests.flows.evaluating HOW FOLDER`.

HOW is where it stops: `claimed`, before it looks at anything; `weighed`, before it writes. It says where it is by a file in
the folder, goes on when there is `go`, and says `late` or `done` at the end. Or it is where it is killed: `written`, between
a decision and its provenance; `applying`, when an approved action is done and not committed.
"""

import os
import signal
import sys
import time
from pathlib import Path

import django


def main(how: str, folder: Path) -> None:
    """Claim, stop, go on."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
    django.setup()
    from recovery import candidates, decisions, evaluator
    from recovery.exceptions import Late

    name = f"{how}-{os.getpid()}"

    def stop() -> None:
        (folder / "go").exists() or (folder / f"{how}-here").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)

    if how == "weighed":
        write = evaluator._write

        def stopped(*args, **options):
            stop()
            return write(*args, **options)

        evaluator._write = stopped
    if how == "applying":
        decisions._applied = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)
    if how == "written":
        evaluator._provenance = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
    claims = candidates.claim(by=name)
    (folder / f"{how}-{os.getpid()}-claims").write_text("\n".join(str(claim.id) for claim in claims))
    if how == "claimed":
        stop()
    try:
        evaluator.evaluate(claims, source="claim", by=name)
        decisions.apply_due()
    except Late:
        (folder / f"{how}-late").touch()
    else:
        (folder / f"{how}-done").touch()


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
