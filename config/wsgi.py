"""The web's entry point for a WSGI server, such as `gunicorn config.wsgi`."""

import os

from django.core.wsgi import get_wsgi_application

from config import substrate

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "config.settings")
substrate.ensure()

application = get_wsgi_application()
