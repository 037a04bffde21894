"""What a worker does with the doorbell's message for a skill that it does not have: it says so once, and lets it go.

Celery takes such a message for a broken one: a traceback for each, and a failure in the results. Here it is only a
ring, and others will follow: the step stays ready for a worker that knows the skill.
"""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import structlog
from celery import bootsteps

from execution import performing

log = structlog.get_logger(__name__)
_rejections = logging.getLogger(__name__)


class UnknownSkillStep(bootsteps.StartStopStep):
    """Stands before Celery's answer to a message whose task is not registered."""

    def __init__(self, consumer: Any, **kwargs: Any) -> None:
        super().__init__(consumer, **kwargs)
        self.told: set[str] = set()

    def start(self, consumer: Any) -> None:
        """Take the place of Celery's answer, also after the broker was away."""
        consumer.on_unknown_task = partial(self.answer, consumer)

    def answer(self, consumer: Any, body: Any, message: Any, error: Exception) -> None:
        """Let a ring go, and say once which skill is missing; any other message is Celery's."""
        if performing.HEADER not in (message.headers or {}):
            type(consumer).on_unknown_task(consumer, body, message, error)
            return
        message.reject_log_error(_rejections, consumer.connection_errors)
        skill = str(message.headers["task"])
        if skill in self.told:
            return
        self.told.add(skill)
        log.error(
            "skill.unknown_here",
            skill=skill,
            queue=(message.delivery_info or {}).get("routing_key"),
            consequence="its steps wait for another worker",
            mend="import its module in this worker (-I MODULE), or let this worker consume other queues (-Q)",
        )
