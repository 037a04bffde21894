"""Celeriac's tests: `tests/<app>/` mirrors the apps, with real servers and real workers."""
