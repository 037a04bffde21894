"""Agents with their ladder: the level as a picture, what speaks for and against it, and what persons decide of it."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.http import HttpRequest
from django.urls import reverse

from execution import agents, people, words
from execution.admin import drawn, shown
from execution.admin.agents import AgentAdmin
from execution.admin.pages import STORED, ToldAdmin
from execution.admin.reasons import ReasonForm, action
from execution.exceptions import NotPossible
from execution.models import Agent, Level, Verdict
from graduation import conf, evaluator, ladder, lockouts, trials
from graduation.admin.history import changes
from graduation.models import Evidence, GraduationStatus, Offer, OfferState

MAY = {
    Level.OBSERVER: "Only judges: every step that does something waits for a person.",
    Level.ADVISOR: "Advises: steps that say they need more than an advisor wait for a person.",
    Level.LIMITED_AUTONOMOUS: "Does what reaches little, a blast radius of low; more waits for a person.",
    Level.AUTONOMOUS: "Does what reaches much, up to a blast radius of high; only what is critical waits.",
    Level.FULLY_AUTONOMOUS: "Does whatever its skills do, what is critical too.",
}
_UNDECIDED = (OfferState.OPEN, OfferState.SECONDED)
_LAST = 10
_POINTS_MOST = 200
_LEVELS = [(str(level.value), level.label.replace("_", " ")) for level in Level]


class LevelForm(ReasonForm):
    """To which level, and why."""

    level = forms.TypedChoiceField(choices=_LEVELS, coerce=lambda given: Level(int(given)))
    field_order = ("level", "reason")


class CapabilityForm(ReasonForm):
    """Which capability, and why."""

    capability = forms.CharField(
        max_length=200, help_text="Such as web, or one that must be earned: auto_apply_recovery."
    )
    field_order = ("capability", "reason")


def _promote(agent: Agent, *, by: str, reason: str, level: Level) -> Offer:
    return ladder.promote(agent, level, person=people.named(by), reason=reason)


def _demote(agent: Agent, *, by: str, reason: str, level: Level) -> Verdict:
    return ladder.demote(agent, level, by=by, reason=reason)


def _lock(agent: Agent, *, by: str, reason: str, capability: str) -> Any:
    return agents.lock_out(capability, agent=agent, reason=reason, by=by)


def _unlock(agent: Agent, *, by: str, reason: str, capability: str) -> Any:
    del reason
    if not lockouts.lift_by_hand(capability, agent, by=by):
        raise NotPossible(f"no person has locked {capability!r} for {agent.name!r}: what is earned is lifted by itself")


def _evaluate(agent: Agent, *, by: str, reason: str) -> Any:
    del by, reason
    return evaluator.evaluate(agent)


admin.site.unregister(Agent)


@admin.register(Agent)
class LadderAgentAdmin(ToldAdmin, AgentAdmin):
    list_display = ["name", "shown_level", "rise", "errors", "standing", "spent", "lockouts_in_force", "created"]
    change_form_template = "admin/graduation/agent.html"
    actions = [
        action(
            "promote", _promote, done="decided about", permission="raise", noun="agent", form_class=LevelForm,
            tells="It may do more alone, at once. More than one level within a day wants a second person, who agrees "
            "on the offer's page.",
        ),
        action(
            "demote", _demote, done="lowered", permission="change_level", noun="agent", form_class=LevelForm,
            is_grave=True, tells="It may do less alone, at once: no step slips past. What speaks for it begins anew.",
        ),
        action(
            "lock", _lock, done="locked out", permission="lock", noun="agent", label="Lock a capability",
            form_class=CapabilityForm, tells="No step of it that needs the capability begins until it is unlocked.",
        ),
        action(
            "unlock", _unlock, done="unlocked", permission="lock", noun="agent", label="Unlock a capability",
            form_class=CapabilityForm, tells="What persons have locked is lifted; what must be earned stays locked.",
        ),
        action(
            "evaluate", _evaluate, done="evaluated", permission="change_level", noun="agent", label="Evaluate now",
            tells="Where it stands is found out now instead of within a quarter of an hour.",
        ),
    ]  # fmt: skip

    def has_raise_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm(agents.RAISE)

    def has_change_level_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.change_agent")

    def has_lock_permission(self, request: HttpRequest) -> bool:
        return request.user.has_perm("execution.change_capabilitylockout")

    def get_fieldsets(self, request: HttpRequest, obj: Any = None) -> Any:
        """Fold the form away: what an agent is stands above it."""
        if obj is None:
            return super().get_fieldsets(request, obj)
        return [("Its description and its budget", {"fields": self.get_fields(request, obj), **STORED})]

    def get_queryset(self, request: HttpRequest) -> Any:
        return super().get_queryset(request).prefetch_related("evidence", "graduation", "offers")

    def possible(self, row: Agent) -> list[str]:
        up = ["promote"] if row.level < max(Level) else []
        down = ["demote"] if row.level > min(Level) else []
        return [*up, *down, "lock", "unlock", "evaluate"]

    def parts(self, request: HttpRequest, row: Agent) -> dict[str, Any]:
        evidence = Evidence.objects.select_related("agent").filter(pk=row.pk).first()
        status = GraduationStatus.objects.filter(agent=row).first()
        offers = Offer.objects.filter(agent=row).order_by("-id")[:_LAST]
        verdicts = Verdict.objects.filter(agent_id=row.pk).order_by("-id")[:_LAST]
        return {
            "rungs": [_rung(level, row) for level in reversed(Level)],
            "following": _following(row, evidence),
            "curves": _curves(evidence) if evidence else [],
            "offers": [_offer(one) for one in offers],
            "may_decide": self.has_raise_permission(request),
            "status": _status(status),
            "locked": [_lockout(one) for one in lockouts.in_force(row)],
            "for_all": [_lockout(one) for one in lockouts.in_force(None)],
            "to_audit": [_decision(one) for one in (trials.to_audit(evidence) if evidence else [])],
            "verdicts": [_decision(one) for one in verdicts],
            "level_changes": [_change(one) for one in changes(row)],
            "spent_said": shown.spent(row.spent_cost, row.spent_tokens, row.budget_cost, row.budget_tokens),
            "spent_share": _share_spent(row),
        }

    @admin.display(description="offered")
    def rise(self, agent: Any) -> str:
        found = [one for one in agent.offers.all() if one.state in _UNDECIDED]
        return f"to {_named(found[0].level_after)}" if found else shown.EMPTY

    @admin.display(description="errors of audited")
    def errors(self, agent: Any) -> str:
        row = getattr(agent, "evidence", None)
        return f"{row.error_count:g} of {row.outcome_count:,}" if row and row.outcome_count else shown.EMPTY

    @admin.display(description="recovers as")
    def standing(self, agent: Any) -> str:
        row = getattr(agent, "graduation", None)
        return shown.state(row.status) if row else shown.EMPTY


def _named(level: int) -> str:
    return Level(level).label.replace("_", " ")


def _rung(level: Level, agent: Agent) -> dict[str, Any]:
    return {
        "name": _named(level),
        "may": MAY[level],
        "is_now": level == agent.level,
        "is_reached": level < agent.level,
    }


def _following(agent: Agent, evidence: Evidence | None) -> list[str]:
    """Say what the next step is, and what is missing for it."""
    if evidence is None or not evidence.outcome_count:
        wait = "Nothing is known of its decisions yet: outcomes of audited ones are waited for."
        return [wait, "A person may raise it by hand."] if agent.level < max(Level) else [wait]
    settings, trial = conf.current(), trials.read(evidence)
    bar = 1 / settings.evidence_alpha
    outcomes = words.counted(evidence.outcome_count, "audited decision")
    said = [
        f"{evidence.error_count:g} of {outcomes} were wrong; {evidence.target:.0%} may be.",
        f"Evidence against it: {_said(trial.against.e)}. At {bar:g} it falls by itself.",
    ]
    if agent.level == max(Level):
        return [*said, "It is at the top: there is no further step."]
    missing = max(settings.evidence_least - evidence.outcome_count, 0)
    more = f"; at least {words.counted(missing, 'more outcome')} are wanted" if missing else ""
    rise = (
        f"Evidence for it: {_said(trial.in_favour.e)}. At {bar:g} a rise to {_named(agent.level + 1)} is offered{more}."
    )
    return [*said, rise]


def _said(e: float) -> str:
    return f"{e:,.2f}" if e < 1000 else f"{e:,.0f}"


def _curves(evidence: Evidence) -> list[dict[str, str]]:
    """Return the evidence over time, and the share of errors, as charts: both after each audited outcome."""
    points = trials.curve(evidence)
    if not points:
        return []
    step = max(len(points) // _POINTS_MOST, 1)
    shown_points = points[::-1][::step][::-1]
    labels = [f"{trial.against.count}" for _, trial in shown_points]
    return [_evidence_chart(labels, shown_points), _error_chart(labels, shown_points, evidence.target)]


def _evidence_chart(labels: list[str], points: list[Any]) -> dict[str, str]:
    bar = 1 / conf.current().evidence_alpha
    rows = [
        drawn.series("against it", [round(trial.against.e, 4) for _, trial in points], "bad"),
        drawn.series("for it", [round(trial.in_favour.e, 4) for _, trial in points], "good"),
        drawn.level("enough", bar, len(points)),
    ]
    said = (
        f"What a bet against and a bet for the agent has won after each audited outcome, beginning with one coin. "
        f"At {bar:g} it is shown: where nothing is behind it, that happens once in {bar:g} lives at most."
    )
    return drawn.chart("line", labels, rows, said, type="logarithmic", beginAtZero=False)


def _error_chart(labels: list[str], points: list[Any], target: float) -> dict[str, str]:
    shares = [round(trial.against.bad / trial.against.count * 100, 2) for _, trial in points]
    rows = [
        drawn.series("wrong so far, %", shares, "busy"),
        drawn.level(f"{target:.0%} may be", target * 100, len(points), "wait"),
    ]
    last = points[-1][1].against
    said = f"The share of wrong decisions after each audited outcome: {last.bad:g} of {last.count:,} by now."
    return drawn.chart("line", labels, rows, said)


def _offer(one: Offer) -> dict[str, Any]:
    return {
        "url": reverse("admin:graduation_offer_change", args=[one.pk]),
        "text": f"from {_named(one.level_before)} to {_named(one.level_after)}",
        "state": shown.state("waiting" if one.state == OfferState.OPEN else one.state),
        "is_open": one.state in _UNDECIDED,
        "who": " and ".join(name for name in (one.first_by, one.second_by) if name) or f"offered by {one.offered_by}",
        "at": shown.age(one.offered_at),
    }


def _status(status: GraduationStatus | None) -> dict[str, Any] | None:
    if status is None:
        return None
    return {
        "state": shown.state(status.status),
        "url": reverse("admin:graduation_graduationstatus_change", args=[status.pk]),
        "gates": [
            {**gate, "mark": shown.state("completed" if gate["holds"] else "waiting")} for gate in status.gates or []
        ],
    }


def _lockout(one: Any) -> dict[str, Any]:
    until = shown.age(one.until) if one.until else ""
    return {
        "name": one.capability,
        "reason": one.reason,
        "by": one.by,
        "since": shown.age(one.created_at),
        "until": until,
    }


def _decision(one: Verdict) -> dict[str, Any]:
    return {
        "link": shown.link("verdict", one.pk, one.kind.replace("_", " ")),
        "subject": one.subject,
        "action": one.action,
        "at": shown.age(one.created_at),
        "text": words.one_line(one.reasoning, 120),
    }


def _change(one: Verdict) -> dict[str, Any]:
    before, after = one.data.get("before", 0), one.data.get("after", 0)
    return {
        "mark": "is-good" if after > before else "is-bad",
        "text": f"{_named(before)} → {_named(after)}",
        "by": one.data.get("by", ""),
        "reason": one.reasoning,
        "at": shown.age(one.created_at),
        "link": shown.link("verdict", one.pk, "verdict"),
    }


def _share_spent(agent: Agent) -> Any:
    if not agent.budget_cost:
        return ""
    return drawn.share(float(agent.spent_cost / agent.budget_cost), "How much of its budget in money is spent.")
