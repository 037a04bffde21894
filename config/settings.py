"""The project's settings: the one place that reads the environment, apart from the servers' addresses.

With an empty environment everything runs from this folder: embedded servers, a secret key made on first use, and
names that only this machine answers to. `docs/operations.md` lists the variables.
"""

import json
import os
from importlib.util import find_spec
from typing import Any

from config import substrate
from config.secret import kept_secret
from config.substrate.addresses import REPOSITORY as BASE_DIR
from execution import logs, room


def text(name: str, default: str = "") -> str:
    """Return a variable, or the default when it is unset or empty."""
    return os.environ.get(name) or default


def flag(name: str, *, default: bool = False) -> bool:
    """Return whether a variable says yes."""
    return text(name, str(default)).strip().lower() in {"1", "true", "yes", "on"}


def number(name: str, default: int) -> int:
    """Return a whole number."""
    return int(text(name, str(default)))


def listing(name: str, default: str) -> list[str]:
    """Return the parts of a comma-separated variable."""
    return [part.strip() for part in text(name, default).split(",") if part.strip()]


# These are addresses, messages between processes and a secret, and not options.
NOT_OPTIONS = {
    "CELERIAC_HOME",
    "CELERIAC_PICTURES",
    "CELERIAC_SOCKETS",
    "CELERIAC_BOARD",
    "CELERIAC_TEST_SKILLS",
    "CELERIAC_MODEL_KEY",
}


def celeriac_options() -> dict[str, Any]:
    """Return each CELERIAC_<NAME> of the environment as option <name>, read as JSON where it is JSON."""
    names = {name for name in os.environ if name.startswith("CELERIAC_")} - NOT_OPTIONS
    return {name.removeprefix("CELERIAC_").lower(): _json_or_text(os.environ[name]) for name in sorted(names)}


def _json_or_text(value: str) -> object:
    try:
        return json.loads(value)
    except ValueError:
        return value


def exports_storage() -> dict[str, Any]:
    """Return the storage of exports: the bucket that the environment names, with its credentials or the way to them."""
    options: dict[str, Any] = {
        "bucket_name": text("EXPORTS_BUCKET"),
        "endpoint_url": text("EXPORTS_ENDPOINT_URL") or None,
        "region_name": text("EXPORTS_REGION", "auto"),
    }
    if text("EXPORTS_ACCESS_KEY_ID"):
        options["access_key"] = text("EXPORTS_ACCESS_KEY_ID")
        options["secret_key"] = text("EXPORTS_SECRET_ACCESS_KEY")
    if text("EXPORTS_VAULT_PATH"):
        options["vault"] = {
            "url": text("VAULT_ADDR", "http://127.0.0.1:8200"),
            "path": text("EXPORTS_VAULT_PATH"),
            "token": text("VAULT_TOKEN"),
            "role_id": text("VAULT_ROLE_ID"),
            "secret_id": text("VAULT_SECRET_ID"),
            "namespace": text("VAULT_NAMESPACE"),
            "ttl_seconds": number("EXPORTS_VAULT_TTL", 3600),
        }
    return {"BACKEND": "recovery.storages.ExportStorage", "OPTIONS": options}


ADDRESSES = substrate.addresses()

SECRET_KEY = text("SECRET_KEY") or kept_secret(ADDRESSES.home / "secret_key")
DEBUG = flag("DEBUG")
ALLOWED_HOSTS = listing("ALLOWED_HOSTS", "localhost,127.0.0.1")
CSRF_TRUSTED_ORIGINS = listing("CSRF_TRUSTED_ORIGINS", "")

INSTALLED_APPS = [
    "unfold.apps.BasicAppConfig",
    "execution.room.apps.RoomConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django_celery_beat",
    "execution",
    "recovery",
    "graduation",
    "config.example",
]

# The extra `web` brings WhiteNoise, with which any WSGI server serves the admin's style sheets.
WHITENOISE = ["whitenoise.middleware.WhiteNoiseMiddleware"] if find_spec("whitenoise") else []
WHITENOISE_USE_FINDERS = True

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    *WHITENOISE,
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "execution.room.zones.ReaderZone",
]
CSRF_FAILURE_VIEW = "execution.room.errors.refused_form"

ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# A session that hangs must let go: it ends when a lock, a silent peer or an idle transaction takes too long. Behind a
# pooler that refuses start-up options, name your own in DATABASE_URL (`?options=`), and set these on the role.
SESSION_OPTIONS = {
    "options": "-c lock_timeout=10s -c idle_in_transaction_session_timeout=60s -c client_connection_check_interval=2s",
    "connect_timeout": "10",
    "tcp_user_timeout": "15000",
    "application_name": "celeriac",
}

DATABASES = {
    "default": {
        **ADDRESSES.database,
        "CONN_MAX_AGE": number("CONN_MAX_AGE", 600),
        "CONN_HEALTH_CHECKS": True,
        "OPTIONS": SESSION_OPTIONS | ADDRESSES.database["OPTIONS"],
    },
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]

UNFOLD = room.UNFOLD

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_I18N = True
USE_TZ = True

STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
    **({"exports": exports_storage()} if text("EXPORTS_BUCKET") else {}),
}

STATIC_URL = "static/"
STATIC_ROOT = text("STATIC_ROOT") or None

REDIS_URL = ADDRESSES.redis_url

CELERY_BROKER_URL = ADDRESSES.broker_url
CELERY_RESULT_BACKEND = text("CELERY_RESULT_BACKEND") or ADDRESSES.result_backend
# A chord whose header outlives this would never run its body: longer than the longest run.
CELERY_RESULT_CHORD_EXPIRES = 30 * 24 * 3600
CELERY_RESULT_EXTENDED = True
CELERY_TIMEZONE = "UTC"
CELERY_ENABLE_UTC = True
CELERY_ACCEPT_CONTENT = ["json"]
CELERY_TASK_SERIALIZER = "json"
CELERY_RESULT_SERIALIZER = "json"
CELERY_TASK_DEFAULT_QUEUE = "default"
CELERY_TASK_TRACK_STARTED = True
CELERY_TASK_SEND_SENT_EVENT = True
# Acknowledge early: the ledger's leases recover lost work, and a late acknowledgement starts long tasks twice.
CELERY_TASK_ACKS_LATE = False
CELERY_WORKER_CONCURRENCY = number("CELERY_WORKER_CONCURRENCY", min(os.cpu_count() or 1, 4))
# With `celery worker --autoscale 10,2` the pool follows the ledger's backlog instead of its own few messages.
CELERY_WORKER_AUTOSCALER = "execution.autoscale:BacklogAutoscaler"
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
# Celery offers it for Redis only; elsewhere it would warn and do nothing.
CELERY_WORKER_DISABLE_PREFETCH = ADDRESSES.broker_url.startswith(("redis", "valkey"))
CELERY_WORKER_SEND_TASK_EVENTS = flag("CELERY_WORKER_SEND_TASK_EVENTS", default=True)
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = False
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
# Without these a publish on a dead connection waits for ever.
CELERY_BROKER_TRANSPORT_OPTIONS = (
    {
        "socket_timeout": 15,
        "socket_connect_timeout": 5,
        "socket_keepalive": True,
        "health_check_interval": 15,
        "retry_on_timeout": True,
    }
    if CELERY_WORKER_DISABLE_PREFETCH
    else {}
)
CELERY_REDIS_SOCKET_TIMEOUT = 15
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 5
CELERY_REDIS_BACKEND_HEALTH_CHECK_INTERVAL = 15
CELERY_BEAT_SCHEDULER = "django_celery_beat.schedulers:DatabaseScheduler"

# JSON lines, or key and value on a terminal; LOG_FORMAT=json or console insists.
LOGGING = logs.configuration(level=text("LOG_LEVEL", "INFO"), form=text("LOG_FORMAT", "auto"))

CELERIAC = {
    "exports_folder": str(ADDRESSES.home / "exports"),
    "exports": "exports" if "exports" in STORAGES else "",
    **celeriac_options(),
}
