"""The project's settings."""

import os
from urllib.parse import unquote, urlsplit

DURABLE = os.environ.get("EXISTING_DURABLE") == "1"
SECRET_KEY = "only-for-this-project"  # noqa: S105 - nothing is signed with it
INSTALLED_APPS = ["tests.existing_project.shop", *(["django_celery_beat", "execution"] if DURABLE else [])]
ADDRESS = urlsplit(os.environ["DATABASE_URL"])
DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": ADDRESS.path.lstrip("/"),
        "USER": unquote(ADDRESS.username or ""),
        "PASSWORD": unquote(ADDRESS.password or ""),
        "HOST": unquote((ADDRESS.netloc.rpartition("@")[2]).partition(":")[0]),
        "PORT": (ADDRESS.netloc.rpartition("@")[2]).partition(":")[2],
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
CELERY_BROKER_URL = os.environ["CELERY_BROKER_URL"]
CELERY_RESULT_BACKEND = os.environ["CELERY_RESULT_BACKEND"]
CELERY_TASK_DEFAULT_QUEUE = "existing"
CELERY_ACCEPT_CONTENT = ["json"]
