"""What can go wrong, one class per situation that a caller might handle."""

from __future__ import annotations

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


class NotPossible(CeleriacError):
    """The run is not in a state in which this can be done."""


class RunFailed(CeleriacError):
    """The run whose result was asked for has failed."""

    def __init__(self, run_id: Any, error: dict[str, Any] | None = None) -> None:
        super().__init__(run_id, error)
        self.run_id, self.error = run_id, error or {}

    def __str__(self) -> str:
        return f"run {self.run_id} failed: {self.error.get('type', 'error')}: {self.error.get('message', '')}"


class RunCancelled(CeleriacError):
    """The run whose result was asked for was cancelled."""


class WaitedTooLong(CeleriacError, TimeoutError):
    """The run did not end in the time that the caller would wait."""


class NotCommitted(CeleriacError):
    """The caller waits for a run that its own open transaction has not committed: it would wait for ever."""


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
