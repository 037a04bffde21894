"""Existing Celery tasks made durable by their base, and one that stayed plain."""

from __future__ import annotations

import time

from celery import chain, group, shared_task
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from celery.result import AsyncResult

from execution.skills import SkillTask

SEEN: list[tuple[str, object]] = []
"""What the tasks have seen in this process, for tests that perform in it."""


class BrokenError(Exception):
    """It is broken."""


@shared_task(base=SkillTask, name="canvas.add")
def add(left, right=0):
    """Add two numbers."""
    SEEN.append(("add", (left, right)))
    return left + right


@shared_task(base=SkillTask, name="canvas.total")
def total(numbers):
    """Add up."""
    SEEN.append(("total", numbers))
    return sum(numbers)


@shared_task(base=SkillTask, name="canvas.same")
def same(value):
    """Return what was given."""
    return value


@shared_task(base=SkillTask, name="canvas.broken")
def broken(*args):
    """Fail."""
    raise BrokenError("it broke", 7)


@shared_task(base=SkillTask, name="canvas.note")
def note(*args):
    """Remember having been called."""
    SEEN.append(("note", args))


@shared_task(base=SkillTask, name="canvas.note_id")
def note_id(task_id):
    """Be an error link of the old kind: called with the failed task's id."""
    SEEN.append(("note", (task_id,)))


@shared_task(base=SkillTask, name="canvas.note_error", typing=False)
def note_error(request, error, trace):
    """Be an error link of the new kind: called with the error itself."""
    SEEN.append(("error", (request.id, repr(error))))


@shared_task(base=SkillTask, bind=True, name="canvas.shown")
def shown(self, *args):
    """Return what the request shows."""
    request = self.request
    return {
        "id": request.id,
        "root_id": request.root_id,
        "parent_id": request.parent_id,
        "group": request.group,
        "headers": request.headers,
        "priority": request.delivery_info["priority"],
        "limits": [request.time_limit, request.soft_time_limit],
        "stamps": request.stamps,
        "retries": request.retries,
        "follows": bool(request.chain or request.callbacks),
        "app_id": (request.properties or {}).get("app_id"),
    }


@shared_task(base=SkillTask, bind=True, name="canvas.stubborn", max_retries=2)
def stubborn(self, value, *, until=1, **options):
    """Try again with a larger value."""
    if self.request.retries < until:
        raise self.retry(args=(value + 1,), kwargs={"until": until}, countdown=0, **options)
    return value


@shared_task(base=SkillTask, bind=True, name="canvas.quiet")
def quiet(self):
    """Ask to be tried again without raising."""
    if not self.request.retries:
        self.retry(countdown=0, throw=False)
    return self.request.retries


@shared_task(base=SkillTask, bind=True, name="canvas.replaced")
def replaced(self, kind):
    """Be replaced."""
    kinds = {
        "task": lambda: add.s(1, 2),
        "chain": lambda: chain(add.s(1, 2), add.s(3)),
        "group": lambda: group(add.s(1, 2), add.s(3, 4)),
        "plain": lambda: plain.s(6),
    }
    return self.replace(kinds[kind]())


@shared_task(base=SkillTask, bind=True, name="canvas.ignored")
def ignored(self, state=None):
    """Set a state, perhaps, and be ignored."""
    if state:
        self.update_state(state=state, meta={"why": "asked"})
    raise Ignore


@shared_task(base=SkillTask, bind=True, name="canvas.rejected")
def rejected(self, requeue):
    """Reject the message, once or for good."""
    if requeue and self.request.delivery_info["redelivered"]:
        return "again"
    raise Reject("no", requeue=requeue)


@shared_task(base=SkillTask, bind=True, name="canvas.parent")
def parent(self):
    """Call two others."""
    return [add.delay(1, 1).id, add.delay(2, 2).id]


@shared_task(base=SkillTask, bind=True, name="canvas.telling")
def telling(self):
    """Tell how far it is, and look at itself from outside."""
    self.update_state(state="PROGRESS", meta={"done": 3})
    seen = AsyncResult(self.request.id)
    return [seen.state, seen.info]


@shared_task(base=SkillTask, bind=True, name="canvas.joined")
def joined(self):
    """Add one part more to its own chord."""
    self.add_to_chord(add.s(10, 10))
    return 1


@shared_task(base=SkillTask, bind=True, name="canvas.recording")
def recording(self, topic):
    """Use the context."""
    return self.ctx.once("length", len, topic)


@shared_task(base=SkillTask, name="canvas.slow")
def slow(seconds):
    """Take long."""
    time.sleep(seconds)
    return seconds


@shared_task(base=SkillTask, name="canvas.soft", soft_time_limit=1)
def soft():
    """Take long, and tidy up when the soft limit passes."""
    try:
        time.sleep(30)
    except SoftTimeLimitExceeded:
        return "tidied"


@shared_task(name="canvas.plain")
def plain(value):
    """Stay a plain Celery task."""
    return value * 7
