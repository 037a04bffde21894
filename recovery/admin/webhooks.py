"""Webhooks: how each endpoint does, with a test message, and the messages with their tries."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from execution.admin import shown
from execution.admin.lists import PlainAdmin, among
from execution.admin.reasons import action
from recovery import addresses, webhooks
from recovery.models import Delivery, OutboxEvent, OutboxState, WebhookEndpoint

TESTED_MOST = 10
_LAST = 20


class OperatedAdmin(PlainAdmin):
    """What an operator of webhooks may do."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.operate_webhook")


@admin.action(description="Send a test message to the selected webhooks", permissions=["operate"])
def test(page: Any, request: HttpRequest, rows: QuerySet[WebhookEndpoint]) -> None:
    """Send one test message to each, and say what was answered."""
    chosen = list(rows.order_by("name")[: TESTED_MOST + 1])
    if len(chosen) > TESTED_MOST:
        page.message_user(request, f"At most {TESTED_MOST} at once: nothing was sent.", messages.ERROR)
        return
    for endpoint in chosen:
        answer = webhooks.send_test(endpoint, by=request.user.get_username())
        page.log_change(request, endpoint, f"Tested: {answer.error or answer.status}")
        if answer.is_success:
            page.message_user(request, f"{endpoint} took the test message ({answer.status}).", messages.SUCCESS)
        else:
            page.message_user(request, f"{endpoint} did not take the test message: {answer.error}.", messages.WARNING)


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatedAdmin):
    list_display = ["name", "shown_state", "shown_kinds", "health", "delivered", "failed_count", "dead_count"]
    list_filter = ["state"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a webhook's name."
    fields = [
        "name", "shown_url", "shown_kinds", "is_ordered", "shown_state", "health", "held_until", "published_count",
        "delivered_count", "failed_count", "dead_count", "delivered_at", "valid_secrets", "tries", "created_at",
        "changed_by",
    ]  # fmt: skip
    actions = [
        test,
        action("enable", webhooks.enable, done="enabled", permission="operate", noun="webhook"),
        action("disable", webhooks.disable, done="disabled", permission="operate", noun="webhook", is_grave=True),
    ]

    @admin.display(description="state")
    def shown_state(self, endpoint: WebhookEndpoint) -> SafeString:
        return shown.state(endpoint.state)

    @admin.display(description="kinds")
    def shown_kinds(self, endpoint: WebhookEndpoint) -> str:
        return ", ".join(endpoint.kinds) or "all"

    @admin.display(description="URL")
    def shown_url(self, endpoint: WebhookEndpoint) -> str:
        return addresses.shown_url(endpoint.url)

    @admin.display(description="health")
    def health(self, endpoint: WebhookEndpoint) -> str:
        return webhooks.health(endpoint)

    @admin.display(description="last delivered")
    def delivered(self, endpoint: WebhookEndpoint) -> str:
        return shown.age(endpoint.delivered_at)

    @admin.display(description="valid secrets")
    def valid_secrets(self, endpoint: WebhookEndpoint) -> int:
        return webhooks.secret_count(endpoint)

    @admin.display(description="last tries")
    def tries(self, endpoint: WebhookEndpoint) -> SafeString:
        found = webhooks.last_tries(endpoint, _LAST)
        if not found:
            return SafeString(shown.EMPTY)
        rows = (
            (_link(one), one.message.kind, shown.age(one.created_at), one.error or str(one.status)) for one in found
        )
        body = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html("<table><tr><th>message</th><th>kind</th><th>age</th><th>answer</th></tr>{}</table>", body)


def _link(one: Delivery) -> SafeString:
    page = reverse("admin:recovery_outboxevent_change", args=[one.message_id])
    return format_html('<a href="{}">{}</a>', page, shown.short(one.message_id))


def _answer(one: Delivery) -> str:
    return one.error or str(one.status)


@admin.register(OutboxEvent)
class OutboxEventAdmin(OperatedAdmin):
    list_display = ["shown_id", "endpoint", "kind", "aggregate", "shown_state", "try_count", "due", "made"]
    list_select_related = ["endpoint"]
    list_filter = [among("state", "state", OutboxState.choices)]
    by_id = ["id", "event_id", "endpoint_id"]
    by_word = ["kind", "endpoint__name"]
    search_help_text = "The id of a message, an event or a webhook; or, among the newest 100,000, a kind or a name."
    unlisted = ["body"]
    fields = [
        "endpoint", "event_id", "kind", "aggregate", "shown_state", "try_count", "due_at", "delivered_at", "tries",
        "shown_body", "created_at",
    ]  # fmt: skip
    actions = [action("replay", webhooks.replay, done="due now", permission="operate", noun="message")]

    @admin.display(description="message")
    def shown_id(self, message: OutboxEvent) -> str:
        return shown.short(message.id)

    @admin.display(description="state")
    def shown_state(self, message: OutboxEvent) -> SafeString:
        return shown.state(message.state)

    @admin.display(description="due")
    def due(self, message: OutboxEvent) -> str:
        return shown.age(message.due_at) if message.state == OutboxState.PENDING else shown.EMPTY

    @admin.display(description="made")
    def made(self, message: OutboxEvent) -> str:
        return shown.age(message.created_at)

    @admin.display(description="body")
    def shown_body(self, message: OutboxEvent) -> SafeString:
        return shown.data(message.body)

    @admin.display(description="tries")
    def tries(self, message: OutboxEvent) -> SafeString:
        rows = (
            (
                shown.age(one.created_at),
                one.error or str(one.status),
                f"{one.duration_ms:,.0f} ms",
                shown.pre(one.response),
            )
            for one in message.deliveries.all()
        )
        body = format_html_join("", "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>", rows)
        return format_html("<table>{}</table>", body) if body else SafeString(shown.EMPTY)
