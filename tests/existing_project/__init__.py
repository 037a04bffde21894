"""A small Django + Celery project as a team may have it: tasks, a chain, a chord, links, a retry, its own tests.

`EXISTING_DURABLE=1` changes the base of its tasks and adds the app; nothing else of it knows.
"""
