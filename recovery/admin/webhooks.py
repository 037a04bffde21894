"""Webhooks: how each endpoint does, with a test message, its secrets, and the messages with their tries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils import timezone
from django.utils.cache import add_never_cache_headers
from django.utils.html import format_html
from django.utils.safestring import SafeString

from execution import durations, words
from execution.admin import drawn, shown
from execution.admin.lists import among
from execution.admin.pages import ToldAdmin
from execution.admin.reasons import ReasonForm, action, back
from execution.exceptions import CeleriacError
from recovery import addresses, webhooks
from recovery.models import Delivery, OutboxEvent, OutboxState, WebhookEndpoint

TESTED_MOST = 10
_LAST = 20
_ORDERS = [("", "as it is"), ("yes", "in order, one at a time"), ("no", "as they come")]


class OperatedAdmin(ToldAdmin):
    """What an operator of webhooks may do."""

    def has_operate_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("recovery.operate_webhook")


class NewForm(ReasonForm):
    """A new endpoint."""

    name = forms.CharField(max_length=100, help_text="Small letters, digits, '.', '-' and '_'.")
    url = forms.CharField(label="URL", max_length=2000, help_text="Where messages are posted to.")
    kinds = forms.CharField(
        required=False, help_text="Which events, such as run.failed incident.*; separated by spaces. Empty: all."
    )
    is_ordered = forms.BooleanField(
        required=False, label="In order", help_text="Events of one run in their order, one at a time."
    )
    field_order = ("name", "url", "kinds", "is_ordered", "reason")


class ChangeForm(ReasonForm):
    """What of an endpoint is changed; what stays empty stays as it is."""

    url = forms.CharField(label="URL", required=False, max_length=2000, help_text="What waits goes there too.")
    kinds = forms.CharField(required=False, help_text="Such as run.failed incident.*; a single * means all.")
    order = forms.ChoiceField(required=False, label="Events of one run", choices=_ORDERS)
    field_order = ("url", "kinds", "order", "reason")


class RotateForm(ReasonForm):
    """How long the old secret stays valid."""

    keep = forms.CharField(
        initial="24h", max_length=20, label="The old secret stays valid for", help_text="Such as 24h; 0s ends it now."
    )
    field_order = ("keep", "reason")


class ReplayForm(ReasonForm):
    """From when on is sent again."""

    back_to = forms.CharField(initial="2h", max_length=20, label="How far back", help_text="Such as 30m, 2h or 3d.")
    field_order = ("back_to", "reason")


def _rotate(endpoint: WebhookEndpoint, *, by: str, reason: str, keep: str) -> str:
    return webhooks.rotate(endpoint, keep=keep, by=by, reason=reason)


def _change(endpoint: WebhookEndpoint, *, by: str, reason: str, url: str, kinds: str, order: str) -> Any:
    wanted: dict[str, Any] = {"url": url} if url else {}
    wanted |= {"kinds": [] if kinds.strip() == "*" else kinds.split()} if kinds else {}
    wanted |= {"is_ordered": order == "yes"} if order else {}
    return webhooks.change(endpoint, by=by, reason=reason, **wanted)


def _replay_since(endpoint: WebhookEndpoint, *, by: str, reason: str, back_to: str) -> Any:
    length = timedelta(seconds=durations.seconds(back_to, name="how far back"))
    return webhooks.replay_since(endpoint, timezone.now() - length, by=by, reason=reason)


def _tell_replayed(page: Any, request: HttpRequest, results: list[tuple[Any, Any]]) -> HttpResponse | None:
    for endpoint, (again, missed) in results:
        said = f"{words.counted(again, 'dead message')} and {words.counted(missed, 'missed event')}"
        page.message_user(request, f"{endpoint}: {said} are due now.", messages.SUCCESS)
    return back(request)


def _show_secrets(page: Any, request: HttpRequest, results: list[tuple[Any, Any]]) -> HttpResponse:
    """Show secrets this once: no page, document or log has them afterwards."""
    context = {
        **page.admin_site.each_context(request),
        "title": "A new secret",
        "opts": page.opts,
        "secrets": [
            {"name": one.name, "secret": secret, "url": reverse("admin:recovery_webhookendpoint_change", args=[one.pk])}
            for one, secret in results
        ],
    }
    answer = TemplateResponse(request, "admin/recovery/secret.html", context)
    add_never_cache_headers(answer)
    return answer


@admin.action(description="Send a test message to the selected webhooks", permissions=["operate"])
def test(page: Any, request: HttpRequest, rows: QuerySet[WebhookEndpoint]) -> HttpResponse | None:
    """Send one test message to each, and say what was answered."""
    chosen = list(rows.order_by("name")[: TESTED_MOST + 1])
    if len(chosen) > TESTED_MOST:
        page.message_user(request, f"At most {TESTED_MOST} at once: nothing was sent.", messages.ERROR)
        return None
    for endpoint in chosen:
        answer = webhooks.send_test(endpoint, by=request.user.get_username())
        page.log_change(request, endpoint, f"Tested: {answer.error or answer.status}")
        if answer.is_success:
            took = words.length(answer.duration_ms / 1000)
            page.message_user(
                request, f"{endpoint} took the test message ({answer.status}, {took}).", messages.SUCCESS
            )  # fmt: skip
        else:
            page.message_user(request, f"{endpoint} did not take the test message: {answer.error}.", messages.WARNING)
    return back(request)


test.label = "Send a test message"  # type: ignore[attr-defined]


@admin.register(WebhookEndpoint)
class WebhookEndpointAdmin(OperatedAdmin):
    list_display = ["name", "shown_state", "shown_kinds", "health", "delivered", "failed_count", "dead_count"]
    list_filter = ["state"]
    ordering = ("name",)
    by_name = ["name__icontains"]
    search_help_text = "A part of a webhook's name."
    change_form_template = "admin/recovery/webhook.html"
    stored = [
        "name", "shown_url", "shown_kinds", "is_ordered", "shown_state", "health", "held_until", "published_count",
        "delivered_count", "failed_count", "dead_count", "delivered_at", "valid_secrets", "created_at", "changed_by",
    ]  # fmt: skip
    readonly_fields = ["shown_url", "shown_kinds", "shown_state", "health", "valid_secrets"]
    main = ["test"]
    actions = [
        test,
        action(
            "replay_since", _replay_since, done="replayed", permission="operate", noun="webhook",
            label="Send again what was missed", form_class=ReplayForm, then=_tell_replayed,
            tells="Messages that were given up, and events for which there never was one, are sent again.",
        ),
        action(
            "change", _change, done="changed", permission="operate", noun="webhook", form_class=ChangeForm,
            tells="Its address, which events it gets, or their order.",
        ),
        action(
            "rotate", _rotate, done="given a new secret", permission="operate", noun="webhook",
            label="Rotate the secret", form_class=RotateForm, then=_show_secrets,
            tells="The new secret is shown once, on the next page. Until the old one ends, both sign.",
        ),
        action(
            "enable", webhooks.enable, done="enabled", permission="operate", noun="webhook",
            tells="What waits is sent, and new events.",
        ),
        action(
            "disable", webhooks.disable, done="disabled", permission="operate", noun="webhook", is_grave=True,
            tells="Nothing more is sent; what waits stays.",
        ),
        action(
            "remove", webhooks.remove, done="removed", permission="operate", noun="webhook", is_grave=True,
            then=lambda *_: None, tells="It goes with all of its messages, those too that were not delivered.",
        ),
    ]  # fmt: skip

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return self.has_operate_permission(request)

    def add_view(self, request: HttpRequest, form_url: str = "", extra_context: Any = None) -> HttpResponse:
        """Add an endpoint by its verb, and show its secret this once."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        form = NewForm(request.POST or None)
        if request.method == "POST" and form.is_valid():
            try:
                added = _added(form.cleaned_data, by=request.user.get_username())
            except CeleriacError as error:
                form.add_error(None, str(error))
            else:
                self.log_addition(request, added.endpoint, f"Added: {form.cleaned_data['reason']}")
                return _show_secrets(self, request, [(added.endpoint, added.secret)])
        context = {**self.admin_site.each_context(request), "title": "Add a webhook", "opts": self.opts, "form": form}
        return TemplateResponse(request, "admin/room/form.html", {**context, "button": "Add it", "tells": _ADDING})

    def possible(self, row: WebhookEndpoint) -> list[str]:
        switch = "disable" if row.state == "active" else "enable"
        return ["test", "replay_since", "change", "rotate", switch, "remove"]

    def parts(self, request: HttpRequest, row: WebhookEndpoint) -> dict[str, Any]:
        tries = webhooks.last_tries(row, _LAST)
        return {
            "state": shown.state(row.state),
            "health": webhooks.health(row),
            "facts": _facts(row),
            "figures": _figures(row),
            "tries": [_try(one) for one in tries],
            "chart": _latency(tries),
            "messages_of": f"{reverse('admin:recovery_outboxevent_changelist')}?q={row.pk}",
        }

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


_ADDING = "From now on its events are posted there, signed with a secret that is shown once, on the next page."


def _added(given: dict[str, Any], *, by: str) -> webhooks.Added:
    return webhooks.add(
        given["name"], given["url"], kinds=given["kinds"].split(), is_ordered=given["is_ordered"], by=by,
        reason=given["reason"],
    )  # fmt: skip


def _facts(row: WebhookEndpoint) -> list[tuple[str, Any]]:
    found = [
        ("address", addresses.shown_url(row.url)),
        ("events", ", ".join(row.kinds) or "all"),
        ("order", "events of one run in their order" if row.is_ordered else "as they come"),
        ("left alone until", shown.age(row.held_until) if row.held_until else ""),
        ("failing for", shown.age(row.failing_since) if row.failing_since else ""),
        ("valid secrets", f"{webhooks.secret_count(row)}; none is ever shown again"),
    ]
    return [(name, value) for name, value in found if value]


def _figures(row: WebhookEndpoint) -> list[dict[str, Any]]:
    return [
        {"value": f"{row.delivered_count:,}", "text": "delivered", "title": "Messages that the receiver took."},
        {"value": f"{row.failed_count:,}", "text": "tries failed", "title": "A message is tried again, ever later."},
        {"value": f"{row.dead_count:,}", "text": "given up", "title": "Messages that were not taken by any try."},
        {
            "value": shown.age(row.delivered_at) if row.delivered_at else "never",
            "text": "since the last delivery",
            "title": "When the receiver took a message last.",
        },
    ]


def _latency(tries: list[Delivery]) -> dict[str, str]:
    """Return how long the last tries took, as a chart."""
    ordered = list(reversed(tries))
    took = [round(one.duration_ms, 1) for one in ordered]
    said = f"How long the receiver took to answer the last {words.counted(len(took), 'try', 'tries')}, in milliseconds."
    labels = [timezone.localtime(one.created_at).strftime("%H:%M:%S") for one in ordered]
    return drawn.chart("line", labels, [drawn.series("ms", took, "busy")], said)


def _try(one: Delivery) -> dict[str, Any]:
    message = one.message
    is_waiting = message.state == OutboxState.PENDING
    return {
        "message": _link(one),
        "kind": message.kind,
        "at": shown.age(one.created_at),
        "is_taken": not one.error,
        "answer": words.one_line(one.error or f"{one.status}", 120),
        "took": words.length(one.duration_ms / 1000),
        "state": shown.state(message.state),
        "following": shown.age(message.due_at) if is_waiting else "",
    }


def _link(one: Delivery) -> SafeString:
    page = reverse("admin:recovery_outboxevent_change", args=[one.message_id])
    return format_html('<a href="{}">{}</a>', page, shown.short(one.message_id))


@admin.register(OutboxEvent)
class OutboxEventAdmin(OperatedAdmin):
    list_display = ["shown_id", "endpoint", "kind", "aggregate", "shown_state", "try_count", "due", "made"]
    list_select_related = ["endpoint"]
    list_filter = [among("state", "state", OutboxState.choices)]
    by_id = ["id", "event_id", "endpoint_id"]
    by_word = ["kind", "endpoint__name"]
    search_help_text = "The id of a message, an event or a webhook; or, among the newest 100,000, a kind or a name."
    unlisted = ["body"]
    change_form_template = "admin/recovery/message.html"
    stored = [
        "endpoint", "event_id", "kind", "aggregate", "shown_state", "try_count", "due_at", "delivered_at", "shown_body",
        "created_at",
    ]  # fmt: skip
    readonly_fields = ["shown_state", "shown_body"]
    actions = [
        action(
            "replay", webhooks.replay, done="due now", permission="operate", noun="message", label="Send again",
            tells="It is sent again from the first try on, under the id that it had.",
        )
    ]  # fmt: skip

    def possible(self, row: OutboxEvent) -> list[str]:
        return ["replay"]

    def parts(self, request: HttpRequest, row: OutboxEvent) -> dict[str, Any]:
        return {
            "state": shown.state(row.state),
            "due_in": shown.age(row.due_at) if row.state == OutboxState.PENDING else "",
            "tries": [_told(one) for one in row.deliveries.all()[:100]],
            "body": shown.data(row.body),
        }

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


def _told(one: Delivery) -> dict[str, Any]:
    return {
        "at": shown.age(one.created_at),
        "answer": one.error or str(one.status),
        "is_taken": not one.error,
        "took": words.length(one.duration_ms / 1000),
        "response": shown.pre(one.response) if one.response else "",
    }
