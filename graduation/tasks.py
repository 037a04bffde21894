"""Celery doorways: each calls one verb."""
