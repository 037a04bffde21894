"""The playbook: the templates of what may be done about a failure, shipped and changed by operators.

What is shipped is installed by `migrate` where it is missing, and never written over. Each change raises the version,
by whichever way it comes: the database counts. What an action does is proven anew from the version at which that
changed.
"""

from __future__ import annotations

from difflib import get_close_matches
from typing import Any

from execution import events
from execution.exceptions import NotAllowed
from recovery import actions
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import Risk, SuggestionAction

_CHANGEABLE = frozenset({
    "verb", "parameters", "description", "error_kinds", "categories", "skills", "weight", "risk", "level",
    "is_automated", "needs_approval", "cooldown_seconds", "is_enabled",
})  # fmt: skip


# Name, verb, what it does, and where it differs from what an action is by default.
_SHIPPED: tuple[tuple[str, str, str, dict[str, Any]], ...] = (
    ("retry", "retry", "Try the failed step again, a little later each time.",
        {"parameters": {"seconds": 30}, "error_kinds": ["transient", "unknown"], "weight": 0.7}),
    ("retry-later", "retry", "Try again when what was short may be there again.",
        {"parameters": {"seconds": 600}, "error_kinds": ["resource"], "weight": 0.5}),
    ("wait-out-an-outage", "open_breaker", "Hold the skill back for five minutes, then probe it with this run.",
        {"parameters": {"seconds": 300}, "categories": ["infrastructure"], "weight": 0.72, "level": 3,
         "risk": Risk.MEDIUM, "cooldown_seconds": 300}),
    ("top-up", "top_up", "Raise the run's budget by half of what it has.",
        {"parameters": {"share": 0.5}, "weight": 0.8, "level": 3, "needs_approval": True, "risk": Risk.MEDIUM,
         "cooldown_seconds": 3600, "error_kinds": ["resource"]}),
    ("go-on-under-the-new-version", "resume", "Let a run go on whose skill has another version now.",
        {"weight": 0.6, "needs_approval": True}),
    ("patch-the-input", "retry_with_input", "Go on in a new run with the input put right.",
        {"error_kinds": ["permanent", "unknown"], "weight": 0.4, "is_automated": False}),
    ("fall-back", "fall_back", "Let another skill take over.",
        {"weight": 0.35, "is_automated": False, "risk": Risk.MEDIUM}),
    ("roll-back", "roll_back", "Do it again under the workflow's version before this one.",
        {"categories": ["planner", "permanent"], "weight": 0.3, "needs_approval": True, "risk": Risk.MEDIUM}),
    ("fork-from-the-step", "fork", "Go on in a new run, and leave this one as it is.",
        {"weight": 0.15, "needs_approval": True}),
    ("pause-the-skill", "pause_skill", "Hold the skill back until a person lets it go on.",
        {"categories": ["permission", "permanent"], "weight": 0.25, "needs_approval": True, "risk": Risk.HIGH,
         "level": 4, "cooldown_seconds": 3600}),
    ("reconfigure", "reconfigure", "Ask for an envelope: one tunable changed within bounds, for a time.",
        {"weight": 0.12, "is_automated": False, "needs_approval": True, "level": 3, "risk": Risk.MEDIUM,
         "cooldown_seconds": 600}),
    ("lower-autonomy", "lower_autonomy", "Ask that the agent may do less alone.",
        {"categories": ["planner", "permission"], "weight": 0.12, "needs_approval": True, "cooldown_seconds": 86_400}),
    ("manual", "manual", "A person puts it right, then retries the run.",
        {"weight": 0.3, "is_automated": False, "level": 0}),
    ("escalate", "escalate", "Call for a person.", {"weight": 0.1, "level": 0, "cooldown_seconds": 3600}),
    ("notify", "notify", "Tell of it.", {"weight": 0.05, "level": 0, "cooldown_seconds": 600}),
    ("skip", "skip", "Leave the run as it is.", {"weight": 0.02, "needs_approval": True, "level": 0}),
)  # fmt: skip


def shipped() -> list[SuggestionAction]:
    """Return the actions that come with this version, not saved."""
    return [
        SuggestionAction(name=name, verb=verb, description=description, **{"parameters": {}} | more)
        for name, verb, description, more in _SHIPPED
    ]


def install() -> int:
    """Add the shipped actions that are missing; returns how many were."""
    known = set(SuggestionAction.objects.values_list("name", flat=True))
    missing = [action for action in shipped() if action.name not in known]
    SuggestionAction.objects.bulk_create(missing, ignore_conflicts=True)
    return len(missing)


def get(name: str) -> SuggestionAction:
    """Return an action by its name, or say which name is nearest."""
    found = SuggestionAction.objects.filter(pk=name).first()
    if found is None:
        near = get_close_matches(name, SuggestionAction.objects.values_list("name", flat=True), n=1)
        hint = f"did you mean {near[0]!r}?" if near else "`manage.py actions list` shows them"
        raise NotFound("action", repr(name), hint)
    return found


def check(action: SuggestionAction) -> None:
    """Refuse an action that its verb could not do."""
    actions.check(action.verb, action.parameters, whole=action.is_automated)
    if not 0 <= action.weight <= 1:
        raise NotAllowed(f"the weight of {action.name!r} is {action.weight:g}; it is a share from 0 to 1")


def change(
    name: str, *, by: str, reason: str = "", seen_version: int | None = None, **changes: Any
) -> SuggestionAction:
    """Change an action; with the version that was seen, only if nobody else has changed it since."""
    for word in set(changes) - _CHANGEABLE:
        near = get_close_matches(word, _CHANGEABLE, n=1)
        raise NotAllowed(f"an action has no {word!r} to change" + (f"; did you mean {near[0]!r}?" if near else ""))
    action = get(name)
    version = action.version if seen_version is None else seen_version
    for word, value in changes.items():
        setattr(action, word, value)
    check(action)
    if not SuggestionAction.objects.filter(pk=name, version=version).update(changed_by=by, **changes):
        raise AlreadyDecided(f"the action {name!r} was changed by somebody else meanwhile; nothing was changed")
    action.refresh_from_db()
    told = {"action": name, "version": action.version, "changed": sorted(changes), "by": by, "reason": reason}
    events.note("action.changed", told)
    return action


def enable(name: str, *, by: str, reason: str = "") -> SuggestionAction:
    """Let the evaluator suggest an action."""
    return change(name, by=by, reason=reason, is_enabled=True)


def disable(name: str, *, by: str, reason: str = "") -> SuggestionAction:
    """Let the evaluator suggest an action no more."""
    return change(name, by=by, reason=reason, is_enabled=False)
