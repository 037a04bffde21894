"""The settings of the suite's durable run: the ledger in a database of its own, and no more than the suite needs.

Celery's logging is left alone, because the suite reads what workers log.
"""

from config import substrate

SECRET_KEY = "only-for-the-suite"  # noqa: S105 - nothing is signed with it
INSTALLED_APPS = ["django.contrib.contenttypes", "django.contrib.auth", "django_celery_beat", "execution"]
DATABASES = {"default": {**substrate.addresses().database, "CONN_MAX_AGE": None, "CONN_HEALTH_CHECKS": True}}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
ROOT_URLCONF = "execution.urls"
USE_TZ = True
CELERIAC = {"app": "tests.celery_suite.app:app"}
