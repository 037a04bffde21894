"""Failures taken in per second: from the log to a row each, with its fingerprint, template, pattern and candidate."""

import os
import time

import psutil

from benchmarks import command
from benchmarks.ours import project

PATTERNS = 200


def measure(load: command.Load) -> command.Measured:
    """Let so many runs fail by hand, in 50 ways of which half are known patterns; then take in what the log tells."""
    project.open_for(load)
    from benchmarks.ours import skills
    from execution import runs
    from recovery import failures
    from recovery.models import FailureMatch, FailurePattern

    ending = load.option("ending", "failed")
    runs.start_many(skills.work, ({"number": number} for number in range(load.count + 100)))
    failures.take_in()
    _fail(100, ending)
    failures.take_in(60)
    known = FailureMatch.objects.order_by("fingerprint").distinct("fingerprint")[:25]
    FailurePattern.objects.bulk_create(
        FailurePattern(
            name=one.fingerprint, category="transient", fingerprint=one.fingerprint, fingerprint_version=1,
            template=one.template.text, mined=one.template, error_type=one.error_type, skill=one.skill,
        )
        for one in known.select_related("template")
    )  # fmt: skip
    FailurePattern.objects.bulk_create(
        FailurePattern(
            name=f"p{n}", category="transient", fingerprint=f"f{n}", fingerprint_version=1, template=f"odd {n}"
        )
        for n in range(PATTERNS)
    )
    _fail(load.count, ending)
    began, used = time.perf_counter(), _used()
    while failures.take_in(60):
        pass
    seconds, used = time.perf_counter() - began, _used() - used
    if (found := FailureMatch.objects.count()) != load.count + 100:
        raise RuntimeError(f"{found} of {load.count + 100} failures were taken in")
    return command.Measured(values=[load.count / seconds], also={"per_cpu_second": [load.count / used]})


def _used() -> float:
    """Return the processor's seconds that this process and its server process have used, whatever else goes on."""
    from django.db import connection

    times = [psutil.Process(pid).cpu_times() for pid in (os.getpid(), connection.connection.info.backend_pid)]
    return sum(one.user + one.system for one in times)


def _fail(count: int, ending: str) -> None:
    """Claim steps and fail them through the ledger's one door, a transaction each, with tracebacks as they are."""
    from execution import ids, ledger
    from execution.models import Step

    worker = ids.new()
    waiting = Step.objects.filter(state="ready", epoch=0).order_by("id").values_list("id", flat=True)
    for number, step_id in enumerate(list(waiting[:count])):
        claim = ledger.claim(step_id, ids.new(), worker_id=worker, pid=os.getpid())
        details = {"error": _error(number)}
        if ending == "retrying":
            details |= {"waiting": "retry", "wake_seconds": 3600, "timer": "retry"}
        ledger.finish(claim, ending, output=None, details=details)


def _error(number: int) -> dict:
    """Return an error as the ledger keeps it: a stack of eight frames, or only a message."""
    kind, place = number % 50, number % 997
    said = (
        f"connection to 10.0.{kind}.{place % 250}:5432 was refused after {place} ms in stage {'abcdefghij'[kind % 10]}"
    )
    frames = "".join(
        f'  File "/srv/app/shop/orders{kind}.py", line {place + row}, in place{row}\n    call({row})\n'
        for row in range(8)
    )
    text = f"Traceback (most recent call last):\n{frames}shop.errors.ShopError: {said}\n" if kind % 5 else ""
    return {"kind": "transient", "type": "ShopError", "module": "shop.errors", "message": said, "traceback": text}


if __name__ == "__main__":
    command.main(measure)
