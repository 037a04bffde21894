"""Capability lockouts: added and lifted, never edited."""

from __future__ import annotations

from typing import Any

from django.contrib import admin
from django.http import HttpRequest
from django.utils import timezone
from django.utils.safestring import SafeString

from execution import agents
from execution.admin import shown
from execution.admin.lists import PlainAdmin, Rows
from execution.admin.reasons import action
from execution.exceptions import NotPossible
from execution.models import CapabilityLockout


def lift(lockout: CapabilityLockout, *, by: str, reason: str) -> None:
    """Lift a lockout, with all others of the same capability and agent."""
    if not agents.lift(lockout.capability, agent=lockout.agent, by=by, reason=reason):
        raise NotPossible(f"{lockout} is lifted already")


class InForceFilter(admin.SimpleListFilter):
    """Whether a lockout holds now."""

    title = "in force"
    parameter_name = "in_force"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [("yes", "in force"), ("no", "lifted or over")]

    def queryset(self, request: HttpRequest, queryset: Rows) -> Rows:
        from django.db.models import Q

        holds = Q(lifted_at=None) & (Q(until=None) | Q(until__gt=timezone.now()))
        return {"yes": queryset.filter(holds), "no": queryset.exclude(holds)}.get(self.value() or "", queryset)


@admin.register(CapabilityLockout)
class CapabilityLockoutAdmin(PlainAdmin):
    list_display = ["capability", "shown_agent", "in_force", "since", "until", "by", "reason"]
    list_filter = [InForceFilter]
    list_select_related = ["agent"]
    by_name = ["capability__icontains", "agent__name__icontains"]
    search_help_text = "A part of a capability's or an agent's name."
    fields = ["capability", "agent", "reason", "until", "by", "created_at", "lifted_at"]
    shown_once_made = ["by", "created_at", "lifted_at"]
    readonly_fields = ["by", "created_at", "lifted_at"]
    autocomplete_fields = ["agent"]
    actions = [action("lift", lift, done="lifted", permission="change_lockout", noun="lockout")]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_lockout_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.change_capabilitylockout")

    def save_model(self, request: HttpRequest, obj: CapabilityLockout, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Lock a capability, so that no claim slips past."""
        who = request.user.get_username()
        made = agents.lock_out(obj.capability, agent=obj.agent, reason=obj.reason, until=obj.until, by=who)
        obj.pk = made.pk

    @admin.display(description="agent")
    def shown_agent(self, lockout: CapabilityLockout) -> str:
        return lockout.agent.name if lockout.agent else "every agent"

    @admin.display(description="in force")
    def in_force(self, lockout: CapabilityLockout) -> SafeString:
        if lockout.lifted_at:
            return shown.state("lifted")
        is_over = lockout.until is not None and lockout.until <= timezone.now()
        return shown.state("over") if is_over else shown.state("holds")

    @admin.display(description="since")
    def since(self, lockout: CapabilityLockout) -> str:
        return shown.age(lockout.created_at)
