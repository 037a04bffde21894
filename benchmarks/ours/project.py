"""Opens the project on a contender's own servers, and says how its worker is started."""

import os

from benchmarks.command import Load

# The skills under test stand in benchmarks/ours/skills.py; two pool processes, like every peer.
WORKER = ("-m", "celery", "-A", "config", "worker", "--pool=prefork", "--concurrency=2", "--loglevel=WARNING")
QUIET = ("--without-gossip", "--without-mingle", "--without-heartbeat")
SKILLS = ("--include", "benchmarks.ours.skills", *QUIET)


def open_for(load: Load) -> None:
    """Point this process and the workers that it starts at one database and one Redis, and migrate the database."""
    os.environ["DATABASE_URL"] = load.database
    os.environ["REDIS_URL"] = load.redis
    os.environ["DJANGO_SETTINGS_MODULE"] = "config.settings"
    # Events for Flower are off by default in Celery, and so in every peer; the project turns them on.
    os.environ["CELERY_WORKER_SEND_TASK_EVENTS"] = "0"

    import django
    from django.core.management import call_command

    django.setup()
    call_command("migrate", verbosity=0)
