"""Agents: their level and their budget, changed with a reason through the ledger's own verbs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.utils.safestring import SafeString

from execution import agents, people
from execution.admin import shown
from execution.admin.lists import PlainAdmin
from execution.exceptions import NotAllowed
from execution.models import Agent, Level

if TYPE_CHECKING:
    _ModelForm = forms.ModelForm[Agent]
else:
    _ModelForm = forms.ModelForm


class AgentForm(_ModelForm):
    """An agent, and why it is changed."""

    reason = forms.CharField(
        required=False,
        max_length=1000,
        widget=forms.Textarea(attrs={"rows": 2, "cols": 80}),
        help_text="Why. A change of level or budget wants one; it is kept in the history.",
    )

    person: Any = None
    """Who fills it in."""

    class Meta:
        model = Agent
        fields = ["name", "description", "level", "budget_cost", "budget_tokens"]

    def clean(self) -> dict[str, Any]:
        """Ask for a reason where something is at stake."""
        cleaned = super().clean() or {}
        at_stake = {"level", "budget_cost", "budget_tokens"} & set(self.changed_data)
        if not self.instance._state.adding and at_stake and not cleaned.get("reason"):  # noqa: SLF001 - Django's name
            self.add_error("reason", "Say why its level or its budget is changed.")
        for name in ("budget_cost", "budget_tokens"):
            if (cleaned.get(name) or 0) < 0:
                self.add_error(name, "A budget is zero or more; empty means no limit.")
        if not self.instance._state.adding and "level" in self.changed_data and "level" in cleaned:  # noqa: SLF001 - Django's name
            self._check_rise(cleaned["level"])
        return cleaned

    def _check_rise(self, level: int) -> None:
        """Refuse a rise that this person may not decide, or not alone."""
        before = Agent.objects.get(pk=self.instance.pk)
        if level <= before.level:
            return
        try:
            name = people.deciding(self.person, agents.RAISE)
        except NotAllowed as error:
            self.add_error("level", str(error))
            return
        if agents.needs_second(before, level, name):
            self.add_error("level", "More than one level within a day wants two persons: `manage.py agents promote`.")


@admin.register(Agent)
class AgentAdmin(PlainAdmin):
    form = AgentForm
    list_display = ["name", "shown_level", "spent", "reserved", "lockouts_in_force", "created"]
    list_filter = ["level"]
    ordering = ("name",)
    search_fields = ["name"]
    by_name = ["name__icontains"]
    search_help_text = "A part of an agent's name."
    fields = ["name", "description", "level", "budget_cost", "budget_tokens", "spent", "reserved", "created", "reason"]
    shown_once_made = ["spent", "reserved", "created", "reason"]
    readonly_fields = ["spent", "reserved", "created"]

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_add_permission(self, request)

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return admin.ModelAdmin.has_change_permission(self, request, obj)

    def get_readonly_fields(self, request: HttpRequest, obj: Any = None) -> list[str]:
        return [*self.readonly_fields, *(["name"] if obj else [])]

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Return the form, which knows who fills it in."""
        form = super().get_form(request, obj, change, **kwargs)
        return type(form.__name__, (form,), {"person": request.user})

    def get_queryset(self, request: HttpRequest) -> Any:
        from django.db.models import Count, Q

        in_force = Count("lockouts", filter=Q(lockouts__lifted_at=None))
        return super().get_queryset(request).annotate(lockout_count=in_force)

    def save_model(self, request: HttpRequest, obj: Agent, form: Any, change: bool) -> None:  # noqa: FBT001 - Django's
        """Save a new agent; change one through the verbs that wait for claims in flight."""
        if not change:
            obj.save()
            return
        if "description" in form.changed_data:
            Agent.objects.filter(pk=obj.pk).update(description=obj.description)
        if "level" in form.changed_data:
            _set_level(obj, request.user, form.cleaned_data["reason"])
        if {"budget_cost", "budget_tokens"} & set(form.changed_data):
            agents.set_budget(obj, cost=obj.budget_cost, tokens=obj.budget_tokens)

    def construct_change_message(self, request: HttpRequest, form: Any, formsets: Any, add: bool = False) -> Any:  # noqa: FBT001, FBT002 - Django's
        """Keep what was, what is and why in the history."""
        if add:
            return super().construct_change_message(request, form, formsets, add)
        changes = [
            f"{name}: {_said(name, form.initial.get(name))} → {_said(name, form.cleaned_data.get(name))}"
            for name in form.changed_data
            if name != "reason"
        ]
        reason = form.cleaned_data.get("reason")
        return "; ".join(changes) + (f". Reason: {reason}" if reason else "")

    @admin.display(description="level")
    def shown_level(self, agent: Agent) -> str:
        return agent.get_level_display().replace("_", " ")

    @admin.display(description="spent")
    def spent(self, agent: Agent) -> str:
        return shown.spent(agent.spent_cost, agent.spent_tokens, agent.budget_cost, agent.budget_tokens)

    @admin.display(description="reserved")
    def reserved(self, agent: Agent) -> str:
        return shown.spent(agent.reserved_cost, agent.reserved_tokens, None, None)

    @admin.display(description="lockouts")
    def lockouts_in_force(self, agent: Any) -> str | SafeString:
        return str(agent.lockout_count) if agent.lockout_count else shown.EMPTY

    @admin.display(description="made")
    def created(self, agent: Agent) -> str:
        return shown.age(agent.created_at)


def _set_level(agent: Agent, person: Any, reason: str) -> None:
    if agent.level > Agent.objects.get(pk=agent.pk).level:
        agents.raise_level(agent, Level(agent.level), person=person, reason=reason)
    else:
        agents.set_level(agent, Level(agent.level), by=person.get_username(), reason=reason)


def _said(name: str, value: Any) -> str:
    if name == "level" and value is not None:
        return Level(int(value)).label
    return "no limit" if value is None else str(value)
