"""Messages at the worker's door: one from a producer without a ledger is adopted before it is acknowledged.

What the doorbell sends passes straight on. A message with an eta becomes a stored timer and is acknowledged; any other
goes on to the pool, whose claim finds the row. Where the database is away the message passes on too, and the process
that performs it adopts it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import structlog
from celery.worker.strategy import default
from django.db import close_old_connections

if TYPE_CHECKING:
    from celery import Celery
    from celery.worker.consumer import Consumer

    from execution.skills import SkillTask

log = structlog.get_logger(__name__)


def strategy(task: SkillTask, app: Celery, consumer: Consumer, **options: Any) -> Callable[..., Any]:
    """Return what a worker does with a message of this task."""
    from execution import performing

    perform = default(task, app, consumer, **options)
    if not task.is_durable:
        return perform  # type: ignore[no-any-return]

    def receive(message: Any, body: Any, ack: Any, reject: Any, callbacks: Any, **more: Any) -> Any:
        if performing.HEADER not in message.headers and not _adopt(task, message):
            return ack(None, consumer.connection_errors)
        return perform(message, body, ack, reject, callbacks, **more)

    return receive


def _adopt(task: SkillTask, message: Any) -> bool:
    """Open the run of another producer's message; answers whether the message goes on to the pool."""
    from execution import canvas

    try:
        args, kwargs, embed = message.payload
        request = {**message.headers, **(embed or {}), "delivery_info": message.delivery_info}
        request["reply_to"] = message.properties.get("reply_to")
        delivery = {**message.delivery_info, "priority": message.properties.get("priority")}
        close_old_connections()
        return canvas.adopt(task, message.headers["id"], args, kwargs, {**request, "delivery_info": delivery})
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the message is not lost: the pool adopts it
        log.warning("message.not_adopted", task=task.name, error=repr(error))
        return True
