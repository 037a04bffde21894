"""The panels of the home page that tell of the ledger, one module each: what is read, always bounded."""

from execution.room.panels import agents, health, held, now, persons, spending, trend, waiting
from execution.room.parts import Panel

PANELS = [
    Panel(name="now", place=10, template="admin/room/panels/now.html", permission="execution.view_run", read=now.read),
    Panel(
        name="trend",
        place=20,
        template="admin/room/panels/trend.html",
        permission="execution.view_run",
        read=trend.read,
        refresh_seconds=60,
    ),
    Panel(name="persons", place=30, template="admin/room/panels/persons.html", permission="", read=persons.read),
    Panel(
        name="waiting",
        place=40,
        template="admin/room/panels/waiting.html",
        permission="execution.view_run",
        read=waiting.read,
    ),
    Panel(
        name="held",
        place=45,
        template="admin/room/panels/held.html",
        permission="execution.view_breaker",
        read=held.read,
    ),
    Panel(
        name="spending",
        place=60,
        template="admin/room/panels/spending.html",
        permission="execution.view_agent",
        read=spending.read,
    ),
    Panel(
        name="agents",
        place=70,
        template="admin/room/panels/agents.html",
        permission="execution.view_agent",
        read=agents.read,
    ),
    Panel(
        name="health",
        place=80,
        template="admin/room/panels/health.html",
        permission="execution.view_worker",
        read=health.read,
    ),
]
