"""The app of the suite as the keeper finds it: the same broker, results and tasks as the fixtures' app."""

import os

from celery import Celery

app = Celery(
    "celery.tests",
    broker=os.environ["TEST_BROKER"],
    backend=os.environ["TEST_BACKEND"],
    task_cls="execution.skills:SkillTask",
    include=["t.integration.tasks"],
)
app.conf.update(accept_content=["json"], task_create_missing_queues=False)
