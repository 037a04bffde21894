"""Skills: Python functions that an agent can perform, and to Celery tasks of the same name.

`@skill` makes one of a function; `base=SkillTask` makes an existing Celery task durable. Every way to call it, `start`,
`delay`, `apply_async` or a canvas, opens a run in the ledger and rings the doorbell after the commit.
"""

from __future__ import annotations

import asyncio
import functools
import hashlib
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any, ClassVar

from celery import current_app, shared_task
from celery.contrib.django.task import DjangoTask
from celery.exceptions import Ignore
from celery.result import AsyncResult as Result

from execution import amounts, inputs, secrecy, texts
from execution.durations import Duration, seconds
from execution.exceptions import InputInvalid, NotPossible, OptionInvalid, SkillUnknown

if TYPE_CHECKING:
    from celery import Celery

    from execution.context import Context
    from execution.models import Breaker, Run

ON_FAILURE = ("halt", "continue")
ON_LOST = ("release", "charge")
ON_NEW_VERSION = ("continue", "restart", "park")
LEVELS = ("observer", "advisor", "limited_autonomous", "autonomous", "fully_autonomous")
ERROR_KINDS = ("transient", "permanent", "resource", "unknown")
_TEXTS = dict.fromkeys(("capability", "fallback", "breaker", "key", "rate", "queue", "agent"), 200) | {"version": 100}
_COUNTS = {
    "retries": (0, "the tries after the first"),
    "key_limit": (1, "steps at once"),
    "breaker_threshold": (1, "failures in a row"),
}
BLAST_RADII = {"none": 0, "low": 2, "medium": 3, "high": 3, "critical": 4}


@dataclass(frozen=True, slots=True, kw_only=True)
class SkillOptions:
    """What `@skill(...)` may say; each option is checked when the skill is defined."""

    capability: str = ""
    calls: Sequence[str] = ()
    retries: int | None = None
    retry_base: Duration | None = None
    retry_cap: Duration | None = None
    error_kinds: Mapping[str, str] = field(default_factory=dict)
    timebox: Duration | None = None
    reserve: Mapping[str, Any] = field(default_factory=dict)
    budget: Mapping[str, Any] = field(default_factory=dict)
    on_lost: str = "release"
    on_failure: str = "halt"
    fallback: str = ""
    breaker: str | None = None
    breaker_threshold: int | None = None
    breaker_cooldown: Duration | None = None
    key: str = ""
    key_limit: int | None = None
    rate: str = ""
    queue: str = ""
    priority: int = 0
    agent: str = ""
    autonomy: str = ""
    blast_radius: str = "none"
    lease: Duration | None = None
    stall_after: Duration | None = None
    version: str = ""
    on_new_version: str = "continue"
    signals: Mapping[str, Any] = field(default_factory=dict)
    secret: Sequence[str] = ()

    def __post_init__(self) -> None:
        """Refuse what makes no sense, naming the option."""
        _one_of("on_failure", self.on_failure, ON_FAILURE)
        _one_of("on_lost", self.on_lost, ON_LOST)
        _one_of("on_new_version", self.on_new_version, ON_NEW_VERSION)
        _one_of("blast_radius", self.blast_radius, BLAST_RADII)
        if self.autonomy:
            _one_of("autonomy", self.autonomy, LEVELS)
        self._check_names()
        for name, longest in _TEXTS.items():
            if getattr(self, name) is not None:
                texts.checked(name, getattr(self, name), longest=longest)
        for name, (least, what) in _COUNTS.items():
            self._check_count(name, least, what)
        for name in ("reserve", "budget"):
            amounts.limit(getattr(self, name) or None, name)
        for kind in self.error_kinds.values():
            _one_of("an error's kind", kind, ERROR_KINDS)
        if (self.key_limit is not None or self.rate) and not self.key:
            raise OptionInvalid("key_limit and rate belong to a concurrency key: name it with key='...'")
        amounts.priority(self.priority)
        self._check_durations()

    def _check_names(self) -> None:
        if isinstance(self.calls, str) or not all(self.calls):
            raise OptionInvalid(f"calls is {self.calls!r}; it lists the names of services, as in calls=['payments']")
        if not hasattr(self.signals, "items") or not all(self.signals):
            raise OptionInvalid(f"signals is {self.signals!r:.80}; it names types, as in signals={{'answer': Answer}}")
        if isinstance(self.secret, str) or not all(name and str(name) == name for name in self.secret):
            raise OptionInvalid(f"secret is {self.secret!r}; it lists names of parameters, as in secret=['pin']")
        secrecy.mark(self.secret)

    def _check_count(self, name: str, least: int, what: str) -> None:
        given = getattr(self, name)
        if given is not None and (type(given) is not int or not least <= given < 2**31):
            raise OptionInvalid(f"{name} is {given!r}; it counts {what}, so {least} or more, below 2**31")

    def _check_durations(self) -> None:
        for name in ("timebox", "stall_after", "breaker_cooldown", "retry_base", "retry_cap", "lease"):
            given = getattr(self, name)
            if given is not None and seconds(given, name=name) <= 0:
                raise OptionInvalid(f"{name} is {given!r}; it lasts longer than nothing")
        if self.lease is not None:
            from execution import conf

            shortest = conf.current().heartbeat_seconds * 2
            if seconds(self.lease, name="lease") < shortest:
                raise OptionInvalid(
                    f"lease={self.lease!r} is shorter than two heartbeats ({shortest:.0f} s): "
                    "a healthy step would lose it; give it longer, or lower CELERIAC['heartbeat_seconds']"
                )

    def level(self) -> int:
        """Return the autonomy level that the skill needs."""
        return LEVELS.index(self.autonomy) if self.autonomy else BLAST_RADII[self.blast_radius]

    def stored(self) -> dict[str, Any]:
        """Return the policies that a step keeps, as JSON."""
        kept: dict[str, Any] = {}
        for name in ("retries", "breaker_threshold"):
            if getattr(self, name) is not None:
                kept[name] = getattr(self, name)
        for name in ("timebox", "stall_after", "breaker_cooldown", "retry_base", "retry_cap", "lease"):
            if getattr(self, name) is not None:
                kept[name] = seconds(getattr(self, name), name=name)
        if self.error_kinds:
            kept["error_kinds"] = dict(self.error_kinds)
        if self.fallback:
            kept["fallback"] = self.fallback
        if self.on_failure != "halt":
            kept["on_failure"] = self.on_failure
        if self.on_lost != "release":
            kept["on_lost"] = self.on_lost
        return kept

    def rate_parts(self) -> tuple[int, float] | None:
        """Return a rate such as `10/s` or `100/5m` as a count and seconds."""
        if not self.rate:
            return None
        count, _, per = self.rate.partition("/")
        try:
            parts = int(count), seconds(per if per[:1].isdigit() else f"1{per}", name="rate")
        except (ValueError, OptionInvalid):
            parts = 0, 0.0
        if min(parts) <= 0:
            raise OptionInvalid(f"rate is {self.rate!r}; write it as '10/s' or '100/5m'")
        return parts


def _one_of(name: str, value: str, allowed: Any) -> None:
    if value not in allowed:
        near = get_close_matches(str(value), list(allowed), n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionInvalid(f"{name} is {value!r}, not one of {', '.join(allowed)}{hint}")


class SkillTask(DjangoTask):
    """A Celery task whose runs are in the ledger."""

    abstract = True
    acks_late = False
    options: ClassVar[SkillOptions] = SkillOptions(retries=0, breaker="")
    takes_context: ClassVar[bool] = False
    takes_input: ClassVar[inspect.Signature | None] = None
    function: ClassVar[Callable[..., Any] | None] = None
    Strategy: ClassVar[str] = "execution.messages:strategy"
    _tracer: Callable[..., Any] | None = None

    @property
    def is_durable(self) -> bool:
        """Whether the ledger keeps this task's runs: Celery's own tasks stay as they are, whatever class they have."""
        return not self.name.startswith("celery.")

    @classmethod
    def on_bound(cls, app: Celery) -> None:
        """Give the app's workers a keeper, monitors a sight of every step, and results the ledger."""
        if not cls.name or cls.name.startswith("celery."):
            return
        from execution import flower_events, presence, results, unknown_skills

        cls.acks_late = False
        app.steps["worker"].add(presence.KeeperStep)
        app.steps["consumer"] |= {flower_events.ListenedStep, unknown_skills.UnknownSkillStep}
        results.install(app)

    @property
    def __trace__(self) -> Callable[..., Any] | None:
        """Celery's tracer for this task, behind the claim: a message that claims nothing is never traced."""
        if self._tracer is None or not self.is_durable:
            return self._tracer
        from execution import performing

        return functools.partial(performing.answer, self)

    @__trace__.setter
    def __trace__(self, tracer: Callable[..., Any] | None) -> None:
        self._tracer = tracer

    @property
    def ctx(self) -> Context:
        """The context of the step that is being performed by this thread."""
        from execution import performing

        return performing.context_of(self)

    @property
    def version(self) -> str:
        """The declared version, or a hash of the source."""
        return self.options.version or self.source_version

    @functools.cached_property
    def source_version(self) -> str:
        """A hash of the function's source; empty where there is none to read."""
        try:
            source = inspect.getsource(inspect.unwrap(self.function or self.run))
        except (OSError, TypeError):
            return ""
        return "source:" + hashlib.sha256(source.encode()).hexdigest()[:12]

    def start(self, **wishes: Any) -> Run:
        """Open a run: the skill's own parameters are its input, the other words are options of `runs.start`."""
        from execution import openings, runs

        given, options = openings.split_wishes(self, wishes, runs.OPTIONS)
        return runs.start(self, given, **options)

    def apply_async(
        self,
        args: Any = None,
        kwargs: Any = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        **options: Any,
    ) -> Result:
        """Open a run as Celery's callers do; the same task id opens it once."""
        if not self.is_durable or self.app.conf.task_always_eager:
            return super().apply_async(args, kwargs, task_id, producer, link, link_error, shadow, **options)
        from execution import canvas

        return canvas.apply_async(
            self, args, kwargs, task_id=task_id, link=link, link_error=link_error, shadow=shadow, **options
        )

    def AsyncResult(self, task_id: str, **options: Any) -> Result:  # noqa: N802 - Celery's own name
        """Return the result of a run of this task, read from the ledger."""
        if not self.is_durable or self.app.conf.task_always_eager:
            return super().AsyncResult(task_id, **options)
        from execution import results

        return results.LedgerResult(task_id, backend=self.backend, task_name=self.name, app=self.app, **options)

    def on_replace(self, sig: Any) -> Any:
        """Let a signature take the place of what is being performed, in the transaction that ends it."""
        from execution import performing

        if not self.request.is_eager and performing.replace(self, sig):
            raise Ignore("Replaced by new task")
        return super().on_replace(sig)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Perform the claimed step when Celery's tracer calls; otherwise call the function itself."""
        if not self.is_durable:
            return self.run(*args, **kwargs)
        from execution import performing

        claimed = performing.in_hand(self)
        if claimed is not None:
            return performing.perform(self, claimed, args, kwargs)
        return performing.call_plainly(self, args, kwargs)

    def invoke(self, context: Context, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the function with its context."""
        if self.takes_context and self.function is not None:
            arguments = self.convert(args, kwargs)
            return _finished(self.function(context, *arguments.args, **arguments.kwargs), self.checked_output)
        return _finished(self.run(*args, **kwargs))

    def bind_input(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the input as it will be stored, or say what is wrong with it before a run opens."""
        if not isinstance(kwargs, Mapping):
            raise InputInvalid(self.name, f"it is a mapping of parameters to values, not {kwargs!r:.80}")
        if self.takes_input is None:
            self._check_signature(args, kwargs)
            return {"args": list(args), "kwargs": dict(kwargs)}
        return self.types.bind(args, kwargs)

    def convert(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> inspect.BoundArguments:
        """Return stored input as the types that the function declares."""
        return self.types.convert(args, kwargs)

    def accepts(self, name: str, value: Any) -> bool:
        """Tell whether a value fits the type of a parameter; where no type is declared, everything does."""
        return self.types.accepts(name, value)

    def checked_output(self, value: Any) -> Any:
        """Return what the function returned, checked against its return type."""
        return self.types.output(value)

    @functools.cached_property
    def types(self) -> inputs.Types:
        """What the function's signature and its hints say."""
        return inputs.Types(self.name, self.function or self.run, self.takes_input or inspect.signature(self.run))

    def signal_schema(self, name: str) -> dict[str, Any] | None:
        """Return the JSON Schema of what a signal brings, or None where the skill does not say."""
        return inputs.schema_of(self.options.signals.get(name))

    def checked_signal(self, name: str, data: Any) -> Any:
        """Return what a signal brings as it will be stored, or say what is wrong with it."""
        return inputs.checked(self.name, name, self.options.signals.get(name), data)

    def _check_signature(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        if self.typing:
            try:
                check = self.__header__
            except AttributeError:
                return
            check(*args, **kwargs)


def _finished(value: Any, then: Callable[[Any], Any] | None = None) -> Any:
    """Run a coroutine to its end, beside a running event loop by who awaits it; then do what is due with the result."""
    if not inspect.iscoroutine(value):
        return then(value) if then else value

    async def finished() -> Any:
        result = await value
        return then(result) if then else result

    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(finished())
    return finished()


class Skill:
    """A skill as a class: options are class attributes, `perform(self, ctx, ...)` does the work.

    A subclass registers itself under `name`, or under its module and class name; `Report.start(...)` opens a run.
    Options are inherited, the name is not. A class without `perform` is only a base.
    """

    name: ClassVar[str] = ""
    task: ClassVar[Any]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Register the class as a skill."""
        super().__init_subclass__(**kwargs)
        perform = getattr(cls, "perform", None)
        if perform is None:
            return
        options = {
            name: getattr(cls, name)
            for name in (*SkillOptions.__dataclass_fields__, *_CELERY_OPTIONS)
            if hasattr(cls, name)
        }
        name = cls.__dict__.get("name") or f"{cls.__module__}.{cls.__qualname__}"

        @functools.wraps(perform)
        def function(ctx: Any, *args: Any, **inputs: Any) -> Any:
            return perform(cls(), ctx, *args, **inputs)

        signature = inspect.signature(perform)
        function.__signature__ = signature.replace(parameters=list(signature.parameters.values())[1:])  # type: ignore[attr-defined]
        function.__qualname__ = cls.__qualname__
        cls.task = skill(name, **options)(function)

    @classmethod
    def start(cls, **wishes: Any) -> Run:
        """Open a run."""
        run: Run = cls.task.start(**wishes)
        return run

    @classmethod
    def delay(cls, *args: Any, **kwargs: Any) -> Result:
        """Open a run as Celery does."""
        return cls.task.delay(*args, **kwargs)


def skill(name: str | Callable[..., Any] | None = None, *, base: type[SkillTask] = SkillTask, **wishes: Any) -> Any:
    """Make a skill of a function whose first parameter, if it is named `ctx`, is its context."""
    if callable(name):
        return skill()(name)
    unknown = [word for word in wishes if word not in SkillOptions.__dataclass_fields__ and word not in _CELERY_OPTIONS]
    if unknown:
        near = get_close_matches(unknown[0], [*SkillOptions.__dataclass_fields__, *_CELERY_OPTIONS], n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise OptionInvalid(
            f"@skill has no option {unknown[0]!r}{hint or '; it knows ' + ', '.join(SkillOptions.__dataclass_fields__)}"
        )
    celery_options = {word: wishes.pop(word) for word in list(wishes) if word in _CELERY_OPTIONS}
    options = SkillOptions(**wishes)
    options.stored(), options.rate_parts()

    def decorate(function: Callable[..., Any]) -> Any:
        parameters = list(inspect.signature(function).parameters.values())
        takes_context = bool(parameters) and parameters[0].name == "ctx"
        takes_input = inspect.Signature(parameters[1:] if takes_context else parameters)
        given = f"{function.__module__}.{function.__qualname__}" if name is None else name
        task_name = texts.checked("the name of a skill", given, least=1, longest=200)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise OptionInvalid(
                f"the skill {task_name!r} is a generator, and nobody would keep what it yields: "
                "record each part with ctx.append, and return a value"
            )

        @functools.wraps(function)
        def run(self: SkillTask, *args: Any, **kwargs: Any) -> Any:
            return self(*args, **kwargs)

        if not run.__name__.isidentifier():
            run.__name__ = "run"  # a lambda: Celery writes a function of this name

        def plain(_: Any, *args: Any, **kwargs: Any) -> Any:
            return function(*args, **kwargs)

        return shared_task(
            name=task_name,
            base=base,
            bind=True,
            typing=False,
            options=options,
            takes_context=True,
            takes_input=takes_input,
            function=staticmethod(function if takes_context else functools.wraps(function)(plain)),
            **celery_options,
        )(run)

    return decorate


_CELERY_OPTIONS = frozenset(
    {"serializer", "ignore_result", "rate_limit", "time_limit", "soft_time_limit", "throws", "track_started"}
)


def named(name: str) -> SkillTask:
    """Return the skill of this name, or say which name is nearest."""
    app = current_app._get_current_object()  # noqa: SLF001 - a proxy's only way to its app
    task = app.tasks.get(name)
    if task is None:
        app.loader.import_default_modules()
        task = app.tasks.get(name)
    if isinstance(task, SkillTask) and task.is_durable:
        return task
    names = [known for known, found in app.tasks.items() if isinstance(found, SkillTask) and found.is_durable]
    raise SkillUnknown(name, next(iter(get_close_matches(name, names, n=1)), None))


def pause(name: str, *, by: str = "", reason: str = "") -> Breaker:
    """Hold every step of a skill back, and of what shares its breaker, until `resume`; what is performed goes on."""
    from execution import breakers

    return breakers.trip(breaker_of(name), seconds=None, by=by, reason=reason)


def resume(name: str, *, by: str = "", reason: str = "") -> Breaker:
    """Let the steps of a paused skill go on."""
    from execution import breakers

    return breakers.reset(breaker_of(name), by=by, reason=reason)


def breaker_of(name: str) -> str:
    """Return the name of a skill's breaker."""
    wanted = named(name).options.breaker
    if wanted == "":
        raise NotPossible(f"the skill {name!r} has no breaker, so that nothing can hold it back; declare one")
    return wanted or name


@functools.cache
def import_all(app: Celery) -> None:
    """Import every module that holds tasks, once in a process: a keeper begins without them."""
    app.loader.import_default_modules()


def all_skills() -> dict[str, SkillTask]:
    """Return every skill that this process knows, by name."""
    app = current_app._get_current_object()  # noqa: SLF001 - as above
    import_all(app)
    return {name: task for name, task in sorted(app.tasks.items()) if isinstance(task, SkillTask) and task.is_durable}
