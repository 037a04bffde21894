"""The Celery app `config`: `celery -A config worker` starts the embedded servers first, if they are needed."""

import os
import sys
from pathlib import Path

from celery import Celery

from config import substrate

WITHOUT_SERVERS = frozenset({"--help", "-h", "--version", "help"})


def needs_servers(command_line: list[str]) -> bool:
    """Tell whether this process is a `celery` command that will talk to the servers."""
    program = Path(command_line[0] if command_line else "")
    is_celery = program.name == "celery" or (program.name == "__main__.py" and program.parent.name == "celery")
    return is_celery and not WITHOUT_SERVERS.intersection(command_line[1:])


os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")

if needs_servers(sys.argv):
    try:
        substrate.ensure()
    except substrate.SubstrateError as error:
        sys.exit(f"celeriac: {error}")

app = Celery("config")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
app.autodiscover_tasks(["config.demo"], related_name="skills")
