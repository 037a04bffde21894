"""What can go wrong, one class per situation that a caller might handle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

_WHERE_SKILLS_ARE = (
    "skills.py and tasks.py of each installed app are looked through; import any other module where your Celery app is"
)


class CeleriacError(Exception):
    """The base of every error of this project."""


class SkillUnknown(CeleriacError):
    """There is no skill of this name in this process."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name, self.nearest = name, nearest

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}?" if self.nearest else _WHERE_SKILLS_ARE
        return f"there is no skill named {self.name!r}; {hint}"


class WorkflowUnknown(CeleriacError):
    """There is no workflow of this name, or no such version of it."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name, hint)
        self.name, self.hint = name, hint

    def __str__(self) -> str:
        return f"there is no workflow named {self.name!r}" + (f"; {self.hint}" if self.hint else "")


class WorkflowUnplayable(CeleriacError):
    """A step of a workflow cannot be performed here; nothing was opened."""

    def __init__(self, workflow: str, step: str, error: Any) -> None:
        super().__init__(workflow, step, error)
        self.workflow, self.step, self.error = workflow, step, error

    def __str__(self) -> str:
        return f"step {self.step!r} of workflow {self.workflow!r} cannot be performed here: {self.error}"


class OptionInvalid(CeleriacError):
    """An option of a skill or a run is not what it should be."""


class InputInvalid(CeleriacError):
    """The input does not fit the skill's signature; nothing was opened."""

    def __init__(self, skill: str, problems: str) -> None:
        super().__init__(skill, problems)
        self.skill, self.problems = skill, problems

    def __str__(self) -> str:
        return f"the input of {self.skill!r} is not right: {self.problems}"


class OutputInvalid(CeleriacError):
    """What a skill returned does not fit its return type."""


class NotJson(CeleriacError):
    """A value cannot be written as JSON."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place, self.reason = place, reason

    def __str__(self) -> str:
        return f"{self.place} cannot be stored as JSON: {self.reason}"


class ValueTooLarge(CeleriacError):
    """A value is over the limit; keep it elsewhere and store its address."""

    def __init__(self, place: str, size: int, limit: int) -> None:
        super().__init__(place, size, limit)
        self.place, self.size, self.limit = place, size, limit

    def __str__(self) -> str:
        return (
            f"{self.place} has {self.size:,} bytes, more than the {self.limit:,} that the ledger takes "
            "(CELERIAC['max_value_bytes']); store it elsewhere and keep its address here"
        )


class AgentUnknown(CeleriacError):
    """There is no agent of this name."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name, self.nearest = name, nearest

    def __str__(self) -> str:
        hint = f"; did you mean {self.nearest!r}?" if self.nearest else "; create it in the admin or with Agent.objects"
        return f"there is no agent named {self.name!r}{hint}"


class TunableUnknown(CeleriacError):
    """There is no tunable of this name."""

    def __init__(self, name: str, nearest: str | None = None, known: Sequence[str] = ()) -> None:
        super().__init__(name, nearest, known)
        self.name, self.nearest, self.known = name, nearest, known

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}?" if self.nearest else f"there are {', '.join(self.known)}"
        return f"there is no tunable named {self.name!r}; {hint}"


class BudgetTooSmall(CeleriacError):
    """The run's budget could never hold what its skill reserves; nothing was opened."""


class BudgetUnlimited(CeleriacError):
    """A run without a budget cannot be topped up."""


class KeyReused(CeleriacError):
    """An idempotency key was used again with another input."""

    def __init__(self, key: str, run_id: Any) -> None:
        super().__init__(key, run_id)
        self.key, self.run_id = key, run_id

    def __str__(self) -> str:
        return (
            f"the key {self.key!r} belongs to run {self.run_id}, which was started with another input; "
            "use another key, or start it with the same input"
        )


class RunUnknown(CeleriacError):
    """There is no run, or no step, with this id."""


class RunEnded(CeleriacError):
    """The run has ended: nothing more can be done to it in this way."""

    def __init__(self, run_id: Any, state: str, wish: str) -> None:
        super().__init__(run_id, state, wish)
        self.run_id, self.state, self.wish = run_id, state, wish

    def __str__(self) -> str:
        return f"run {self.run_id} is {self.state}: it cannot {self.wish}"


class SessionUnknown(CeleriacError):
    """There is no session with this id, and no living one of this name."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name, self.nearest = name, nearest

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}?" if self.nearest else "`manage.py sessions list` lists them"
        return f"there is no session {self.name!r}; {hint}"


class SessionEnded(CeleriacError):
    """The session has expired or was closed: nothing more happens in it until it is reopened."""

    def __init__(self, session_id: Any, status: str, wish: str) -> None:
        super().__init__(session_id, status, wish)
        self.session_id, self.status, self.wish = session_id, status, wish

    def __str__(self) -> str:
        return f"session {self.session_id} is {self.status}: it cannot {self.wish}"


class SessionChanged(CeleriacError):
    """Another writer has changed the session's state since it was seen; look again."""

    def __init__(self, session_id: Any, seen: int, version: int) -> None:
        super().__init__(session_id, seen, version)
        self.session_id, self.seen, self.version = session_id, seen, version

    def __str__(self) -> str:
        return (
            f"the state of session {self.session_id} is at version {self.version}, not {self.seen}: another writer was "
            "faster; look again and decide anew"
        )


class NotPossible(CeleriacError):
    """The run is not in a state in which this can be done."""


class StepNeeded(NotPossible):
    """An item of a job asked for what only a step has."""


class RunFailed(CeleriacError):
    """The run whose result was asked for has failed."""

    def __init__(self, run_id: Any, error: dict[str, Any] | None = None) -> None:
        super().__init__(run_id, error)
        self.run_id, self.error = run_id, error or {}

    def __str__(self) -> str:
        return f"run {self.run_id} failed: {self.error.get('type', 'error')}: {self.error.get('message', '')}"


class RunCancelled(CeleriacError):
    """The run whose result was asked for was cancelled."""


class NotAllowed(CeleriacError):
    """Somebody wants to do what only others may, or what may not be done here."""


class GateRefused(CeleriacError):
    """Somebody has refused at a gate."""

    def __init__(self, gate: str, by: str, reason: str = "") -> None:
        super().__init__(gate, by, reason)
        self.gate, self.by, self.reason = gate, by, reason

    def __str__(self) -> str:
        return f"{self.by or 'somebody'} refused at gate {self.gate!r}: {self.reason or 'no reason was given'}"


class GateTimedOut(CeleriacError, TimeoutError):
    """Nobody decided at a gate in its time."""

    def __init__(self, gate: str, who: list[str], waited: str) -> None:
        super().__init__(gate, who, waited)
        self.gate, self.who, self.waited = gate, who, waited

    def __str__(self) -> str:
        who = ", ".join(self.who) or "anybody"
        return f"gate {self.gate!r} timed out: {who} could have approved, and in {self.waited} nobody decided"


class GateClosed(CeleriacError):
    """What a gate checks is not true."""

    def __init__(self, gate: str, condition: str) -> None:
        super().__init__(gate, condition)
        self.gate, self.condition = gate, condition

    def __str__(self) -> str:
        return f"gate {self.gate!r} is closed: {self.condition} is not true"


class WaitedTooLong(CeleriacError, TimeoutError):
    """The run did not end in the time that the caller would wait."""


class NotCommitted(CeleriacError):
    """The caller waits for a run that its own open transaction has not committed: it would wait for ever."""


class ServiceUnknown(CeleriacError):
    """There is no service of this name."""

    def __init__(self, name: str, hint: str = "") -> None:
        super().__init__(name, hint)
        self.name, self.hint = name, hint

    def __str__(self) -> str:
        return f"there is no service {self.name!r}{self.hint or '; `manage.py services import` declares services'}"


class NodeUnknown(CeleriacError):
    """There is no node of this name in the topology."""

    def __init__(self, name: str, nearest: str | None = None) -> None:
        super().__init__(name, nearest)
        self.name, self.nearest = name, nearest

    def __str__(self) -> str:
        hint = f"did you mean {self.nearest!r}?" if self.nearest else "`manage.py topology show` lists them"
        return f"there is no node {self.name!r} in the topology; {hint}"


class RecordUnknown(CeleriacError):
    """There is no assessment or verdict with this id."""


class TokenReused(CeleriacError):
    """A checkpoint token was used for two meanings, or twice in one pass."""


class TokenMissing(CeleriacError):
    """A verb that records needs a token here."""


class ReplayDiverged(CeleriacError):
    """A resumed loop met another item than the one it had recorded."""


class PriceUnknown(CeleriacError):
    """A spend without a price, outside any reservation that could cap it."""


class WaitTimeout(CeleriacError, TimeoutError):
    """The signal did not come in time."""

    def __init__(self, name: str, deadline: Any = None) -> None:
        super().__init__(name, deadline)
        self.name, self.deadline = name, deadline

    def __str__(self) -> str:
        return f"the signal {self.name!r} did not come before {self.deadline}"


class ChildFailed(CeleriacError):
    """A child run that was waited for failed or was cancelled."""

    def __init__(self, run_id: Any, state: str, error: dict[str, Any] | None = None) -> None:
        super().__init__(run_id, state, error)
        self.run_id, self.state, self.error = run_id, state, error or {}

    def __str__(self) -> str:
        return f"child run {self.run_id} {self.state}: {self.error.get('message', '')}"


class EffectUnknown(CeleriacError):
    """Nobody knows whether an effect was done, and its policy says to fail then."""

    def __init__(self, token: str) -> None:
        super().__init__(token)
        self.token = token

    def __str__(self) -> str:
        return f"it is not known whether the effect {self.token!r} was done"


class NotDone(CeleriacError):
    """Raised by an effect's function to say for sure that nothing was done outside."""


class TimeboxPassed(CeleriacError):
    """The skill used up its timebox."""


class PoisonStep(CeleriacError):
    """The process that performed the step died three times in a row without saving anything."""


class PoisonItem(CeleriacError):
    """The process that performed an item of a job died over it again and again."""

    def __init__(self, position: int, crash_count: int) -> None:
        super().__init__(position, crash_count)
        self.position, self.crash_count = position, crash_count

    def __str__(self) -> str:
        return f"the process that performed item {self.position} died over it {self.crash_count} times in a row"


class JobUnknown(CeleriacError):
    """There is no job with this id."""


class Stale(CeleriacError):
    """This worker lost its claim: another one has taken the step over, and nothing more is written."""

    def __init__(self, step_id: Any, epoch: int) -> None:
        super().__init__(step_id, epoch)
        self.step_id, self.epoch = step_id, epoch

    def __str__(self) -> str:
        return f"the claim {self.epoch} of step {self.step_id} is stale: the step was given to another worker"


class LedgerAway(CeleriacError):
    """The database did not come back in the time that a worker waits for it."""


class CallbackInvalid(CeleriacError):
    """A callback address is forged, expired or used up."""


class CallbackExpired(CallbackInvalid):
    """A callback address was good until its time ran out."""


class CallbackUsed(CallbackInvalid):
    """Something was POSTed to a callback address before."""


class Leave(BaseException):
    """The base of the signals that end a pass of a skill."""


class Suspend(Leave):
    """Free the worker; something will wake the step."""

    def __init__(self, waiting: str, **details: Any) -> None:
        super().__init__(waiting, details)
        self.waiting, self.details = waiting, details


class Park(Leave):
    """Free the worker; a person must decide."""

    def __init__(self, waiting: str, reason: str = "") -> None:
        super().__init__(waiting, reason)
        self.waiting, self.reason = waiting, reason


class Skip(Leave):
    """The step's condition is not true: it is not performed."""


class CancelRequested(Leave):
    """The run was cancelled; raised at the next context call."""


class Fenced(Leave):
    """The claim is stale; raised at the next context call, and nothing is written any more."""


class ExpressionInvalid(CeleriacError):
    """An expression of a workflow cannot be read."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text, self.reason = text, reason

    def __str__(self) -> str:
        return f"the expression ${{{self.text:.80}}} cannot be read: {self.reason}"


class ExpressionFailed(CeleriacError):
    """An expression of a workflow has no value in this run."""

    def __init__(self, text: str, reason: str) -> None:
        super().__init__(text, reason)
        self.text, self.reason = text, reason

    def __str__(self) -> str:
        return f"the expression ${{{self.text}}} has no value: {self.reason}"


class DefinitionInvalid(CeleriacError):
    """A workflow's definition is not right; `findings` tell each place in its file."""

    def __init__(self, findings: Any) -> None:
        super().__init__(findings)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "the definition is not right:\n" + "\n".join(str(finding) for finding in self.findings)


class ServicesInvalid(CeleriacError):
    """A file of services is not right; `findings` tell each place in it."""

    def __init__(self, findings: Any) -> None:
        super().__init__(findings)
        self.findings = tuple(findings)

    def __str__(self) -> str:
        return "the services are not right:\n" + "\n".join(str(finding) for finding in self.findings)
