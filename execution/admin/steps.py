"""Steps, and the checkpoints that they have saved: a list of their own, because their key has two columns."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import Http404, HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils.safestring import SafeString

from execution import why, words
from execution.admin import shown
from execution.admin.lists import AgentFilter, PlainAdmin
from execution.models import Attempt, Checkpoint, Step, Worker
from execution.models.agents import agent_name
from execution.room import flower, timeline, wholes

PAGE = 50
ATTEMPTS_MOST = 50


@admin.register(Step)
class StepAdmin(PlainAdmin):
    list_display = ["shown_id", "what", "shown_state", "shown_waiting", "since", "queue", "epoch", "shown_run"]
    list_filter = ["state", "waiting", AgentFilter]
    by_id = ["id", "run_id"]
    by_word = ["skill", "name", "key", "queue"]
    unlisted = ["input", "output", "error", "canvas", "options"]
    search_help_text = "A step's or run's id; or, among the newest 100,000, a skill, name, key or queue."
    change_form_template = "admin/execution/step.html"
    fieldsets = [
        (None, {"fields": ["shown_full_id", "shown_run", "name", "skill", "version", "shown_state"]}),
        (
            "Where it may start",
            {"fields": ["queue", "priority", "key", "breaker", "capability", "level", "approved", "shown_agent"]},
        ),
        (
            "Its claim",
            {
                "fields": [
                    "epoch", "attempt", "worker", "lease_until", "lease_seconds", "control", "retry_count",
                    "crash_count", "suspect", "awaits", "wake_at", "rung_at", "ring_count",
                ]
            },
        ),
        ("Times", {"fields": ["created_at", "started_at", "changed_at", "ended_at"]}),
        ("Money and tokens", {"fields": ["reserve", "reserved", "unsettled"], "classes": ["collapse"]}),
        ("Values", {"fields": ["shown_input", "shown_output", "shown_error", "shown_options", "shown_canvas"]}),
    ]  # fmt: skip

    def get_urls(self) -> list[URLPattern]:
        own = [
            path(
                "<uuid:step_id>/checkpoints/",
                self.admin_site.admin_view(self.checkpoints),
                name="execution_step_checkpoints",
            ),
        ]
        return [*own, *super().get_urls()]

    def render_change_form(self, request: HttpRequest, context: Any, *args: Any, **kwargs: Any) -> HttpResponse:
        step: Step = context["original"]
        attempts = Attempt.objects.filter(step_id=step.id).order_by("-epoch")[:ATTEMPTS_MOST]
        context |= {
            "title": step.name,
            "state": shown.state(step.state),
            "why": why.in_short(step, why.clock()) if step.ended_at is None else "",
            "run_url": reverse("admin:execution_run_change", args=[step.run_id]),
            "timeline": timeline.of(step.run, [step], why.clock(), with_entries=False),
            "attempts": _attempts(list(attempts)),
            "flower": flower.address(step.pk) if request.user.has_perm(flower.PERMISSION) else "",
        }
        return super().render_change_form(request, context, *args, **kwargs)

    def checkpoints(self, request: HttpRequest, step_id: Any) -> HttpResponse:
        """Show a step's checkpoints, a page at a time; one value is unpacked when it is asked for."""
        step = Step.objects.filter(pk=step_id).only("id", "name", "run_id").first()
        if step is None:
            raise Http404(f"there is no step {step_id}")
        if not self.has_view_permission(request, step):
            raise PermissionDenied
        rows, more = _page(step, request.GET.get("after", ""))
        token = request.GET.get("token")
        context = {
            **self.admin_site.each_context(request),
            "title": f"Checkpoints of {step.name}",
            "step": step,
            "rows": [_row(row) for row in rows],
            "after": rows[-1].token if more else None,
            "token": token,
            "value": _value(step, token) if token is not None else None,
            "opts": self.opts,
            "media": self.media,
        }
        return TemplateResponse(request, "admin/execution/checkpoints.html", context)

    @admin.display(description="step")
    def shown_id(self, step: Step) -> str:
        return shown.short(step.id)

    @admin.display(description="id")
    def shown_full_id(self, step: Step) -> str:
        return str(step.id)

    @admin.display(description="skill")
    def what(self, step: Step) -> str:
        return step.skill if step.name == step.skill else f"{step.skill} as {step.name}"

    @admin.display(description="approved by a person")
    def approved(self, step: Step) -> str:
        return shown.yes(step.is_approved)

    @admin.display(description="suspect")
    def suspect(self, step: Step) -> str:
        return "yes: it was in a worker that died, and is retried alone" if step.is_suspect else "no"

    @admin.display(description="run")
    def shown_run(self, step: Step) -> str:
        return shown.link("run", step.run_id)

    @admin.display(description="agent")
    def shown_agent(self, step: Step) -> str:
        return shown.link("agent", step.agent_id, agent_name(step))

    @admin.display(description="state")
    def shown_state(self, step: Step) -> SafeString:
        return shown.state(step.state)

    @admin.display(description="waits for")
    def shown_waiting(self, step: Step) -> str:
        return step.get_waiting_display() or shown.EMPTY

    @admin.display(description="since")
    def since(self, step: Step) -> str:
        return shown.age(step.changed_at)

    @admin.display(description="attempt")
    def attempt(self, step: Step) -> str:
        return shown.link("attempt", step.attempt_id)

    @admin.display(description="worker")
    def worker(self, step: Step) -> str:
        return shown.link("worker", step.worker_id)

    @admin.display(description="for each attempt")
    def reserve(self, step: Step) -> str:
        return shown.spent(step.reserve_cost, step.reserve_tokens, None, None)

    @admin.display(description="reserved now")
    def reserved(self, step: Step) -> str:
        return shown.spent(step.reserved_cost, step.reserved_tokens, None, None)

    @admin.display(description="spent by this attempt")
    def unsettled(self, step: Step) -> str:
        return shown.spent(step.unsettled_cost, step.unsettled_tokens, None, None)

    @admin.display(description="input")
    def shown_input(self, step: Step) -> SafeString:
        return wholes.value("step-input", step) if step.input is not None else wholes.value("run-input", step.run)

    @admin.display(description="output")
    def shown_output(self, step: Step) -> SafeString:
        return wholes.value("step-output", step)

    @admin.display(description="error")
    def shown_error(self, step: Step) -> SafeString:
        return shown.failure(step.error)

    @admin.display(description="options")
    def shown_options(self, step: Step) -> SafeString:
        return shown.data(step.options or None)

    @admin.display(description="canvas")
    def shown_canvas(self, step: Step) -> SafeString:
        return shown.data(step.canvas)


def _attempts(attempts: list[Attempt]) -> list[dict[str, Any]]:
    """Return a step's newest attempts, each with its number and its worker's name."""
    workers = {attempt.worker_id for attempt in attempts}
    hosts = dict(Worker.objects.filter(pk__in=workers).values_list("id", "hostname"))
    numbers = Attempt.objects.filter(pk__in=[attempt.id for attempt in attempts]).numbers()
    return [
        {
            "link": shown.link("attempt", one.id, str(numbers[one.id])),
            "ending": shown.state(one.ending or "running"),
            "started": shown.age(one.started_at),
            "took": shown.lasted(one.started_at, one.ended_at),
            "spent": shown.spent(one.cost, one.tokens, None, None),
            "worker": shown.link("worker", one.worker_id, hosts.get(one.worker_id, "")),
            "error": shown.error(one.error),
        }
        for one in attempts
    ]


def _page(step: Step, after: str) -> tuple[list[Checkpoint], bool]:
    """Return one page of a step's checkpoints by token, which is what their key orders."""
    found = list(
        Checkpoint.objects.filter(step_id=step.id, token__gt=after.replace("\0", ""))
        .defer("data")
        .order_by("token")[: PAGE + 1]
    )
    return found[:PAGE], len(found) > PAGE


def _row(checkpoint: Checkpoint) -> dict[str, Any]:
    return {
        "token": checkpoint.token,
        "shown_token": why.shown_token(checkpoint.token),
        "kind": checkpoint.kind,
        "attempt": checkpoint.epoch,
        "size": words.size(checkpoint.size),
        "spent": shown.spent(checkpoint.cost or 0, checkpoint.tokens or 0, None, None),  # type: ignore[arg-type]
        "saved": shown.age(checkpoint.saved_at),
    }


def _value(step: Step, token: str) -> SafeString:
    row: Any = Checkpoint.objects.filter(step_id=step.id, token=token.replace("\0", "")).values_list("data").first()
    if row is None:
        return SafeString("<p>There is no such checkpoint.</p>")
    return shown.value(row[0]) if row[0] is not None else SafeString("<p>It carries no value.</p>")
