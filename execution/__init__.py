"""Durable runs on Celery: the ledger, and the few words a skill needs.

agent       on whose behalf work is done
skill       a Python function that an agent can perform; to Celery, a task of the same name
workflow    a named graph of steps, written in YAML or in Python
run         one execution of a skill or of a graph of steps
step        one node of a run: claimed, performed, retried; its id is its Celery id
attempt     one claim of a step by one worker: epoch, lease, ending, cost
checkpoint  one thing a step has saved under a token, never computed again
effect      something done to the outside world: intent, then receipt
service     what skills call: its tier, contract, guarantees and dependencies
topology    what depends on what, as declared, defined and seen
assessment  a measured statement about a service or agent; never changed
verdict     a judged statement about a decision; never changed
tunable     a number that may be changed while the system runs
timer       a stored wake-up
session     a group of runs that share state and a time to live
memory      what an agent remembers, found by its words
provenance  where a result comes from: one record for each finished step
signal      something from outside that a step waits for
job, item   a batch of many small items of one skill; one of them, recorded once
lane        one of the steps of a job: takes items in chunks, performs and records them
errand      something owed after a commit: a message to publish, a word to a parent run
event       one line of the ledger's log
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import execution.budgets as budgets  # noqa: PLR0402 - the package itself cannot be asked while it is made
    import execution.events as events  # noqa: PLR0402 - as above
    import execution.jobs as jobs  # noqa: PLR0402 - as above
    import execution.memory as memory  # noqa: PLR0402 - as above
    import execution.memory_rules as memory_rules  # noqa: PLR0402 - as above
    import execution.provenance as provenance  # noqa: PLR0402 - as above
    import execution.records as records  # noqa: PLR0402 - as above
    import execution.runs as runs  # noqa: PLR0402 - as above
    import execution.services as services  # noqa: PLR0402 - as above
    import execution.sessions as sessions  # noqa: PLR0402 - as above
    import execution.signals as signals  # noqa: PLR0402 - as above
    import execution.timers as timers  # noqa: PLR0402 - as above
    import execution.topology as topology  # noqa: PLR0402 - as above
    import execution.tunables as tunables  # noqa: PLR0402 - as above
    from execution.exceptions import CeleriacError
    from execution.skills import Skill, SkillTask, skill

__all__ = [
    "CeleriacError",
    "Skill",
    "SkillTask",
    "budgets",
    "events",
    "jobs",
    "memory",
    "memory_rules",
    "provenance",
    "records",
    "runs",
    "services",
    "sessions",
    "signals",
    "skill",
    "timers",
    "topology",
    "tunables",
]

_HOMES = {
    "CeleriacError": "execution.exceptions",
    "Skill": "execution.skills",
    "SkillTask": "execution.skills",
    "skill": "execution.skills",
}


def __getattr__(name: str) -> Any:
    """Import a public name on first use, so that `import execution` needs no configured Django."""
    from importlib import import_module

    if name not in __all__:
        raise AttributeError(f"module 'execution' has no attribute {name!r}")
    home = _HOMES.get(name)
    return getattr(import_module(home), name) if home else import_module(f"execution.{name}")
