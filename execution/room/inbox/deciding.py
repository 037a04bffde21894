"""Deciding in the inbox: one matter or all of a pattern, each on its own, with a result for each.

Two people may decide the same thing at once: the verbs are guarded writes, one of them wins and the other is told who.
What has asked anew since it was looked at is not decided by the old look.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from execution.exceptions import CeleriacError, NotPossible, OptionInvalid
from execution.room.inbox.parts import Decision, Matter, Source, matter_of, rows_of, source_of
from execution.room.inbox.reading import Wish, matching

AT_ONCE = 200
"""How many matters are decided by one wish."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """What became of one of several matters."""

    kind: str
    key: str
    decision: str
    is_done: bool
    text: str
    asked: str = ""
    can_undo: bool = False
    final: str = ""
    """Why it cannot be taken back."""

    @property
    def name(self) -> str:
        """What its matter is called."""
        return f"{self.kind}:{self.key}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Word:
    """What a person says: which decision, who, why, and what else was asked for."""

    decision: str
    by: str
    reason: str
    given: Mapping[str, Any] = field(default_factory=dict)


Noted = Callable[[Matter, Decision, str], None]
"""Told of each matter that was decided, with what was done."""


def find(kind: str, key: str) -> Matter | None:
    """Return what waits under this kind and id, or None where nothing does."""
    source = source_of(kind)
    row = rows_of(source).filter(pk=key).first() if source else None
    return matter_of(source, row) if source and row is not None else None


def decision_of(kind: str, name: str) -> tuple[Source, Decision]:
    """Return a decision by its name, or say which there are."""
    source = source_of(kind)
    decision = source.decision(name) if source else None
    if source is None:
        raise OptionInvalid(f"nothing of the kind {kind!r} is decided in the inbox")
    if decision is None:
        known = ", ".join(one.name for one in source.decisions)
        raise OptionInvalid(f"{name!r} is no decision about {source.title.lower()}: there are {known}")
    return source, decision


def checked(decision: Decision, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a decision asks for, read from what was typed; says what is wrong with it."""
    form = decision.form(given)
    unknown = sorted(set(given) - set(form.fields))
    if unknown:
        raise OptionInvalid(f"{decision.name!r} asks for {', '.join(form.fields)}, and not for {', '.join(unknown)}")
    if not form.is_valid():
        wrong = "; ".join(f"{name}: {' '.join(map(str, said))}" for name, said in form.errors.items())
        raise OptionInvalid(wrong.replace("__all__: ", ""))
    return form.cleaned_data


def decide(kind: str, keys: Iterable[str], word: Word, *, stamp: str = "", noted: Noted | None = None) -> list[Result]:
    """Decide matters of one kind, each on its own."""
    source, decision = decision_of(kind, word.decision)
    return [_decided(source, decision, key, word, stamp=stamp, noted=noted) for key in keys]


def decide_all(kind: str, wish: Wish, word: Word, *, noted: Noted | None = None) -> tuple[list[Result], int]:
    """Decide what fits a wish, the oldest first and so many at once; returns the results, and how many are left."""
    source, _ = decision_of(kind, word.decision)
    rows = matching(source, wish).order_by("inbox_since", "pk")
    keys = [str(key) for key in rows.values_list("pk", flat=True)[: AT_ONCE + 1]]
    results = decide(kind, keys[:AT_ONCE], word, noted=noted)
    return results, matching(source, wish).count() if len(keys) > AT_ONCE else 0


def undo(kind: str, key: str, name: str, *, by: str, reason: str) -> Result:
    """Take a decision back where that can be done."""
    decision = decision_of(kind, name)[1]
    told: dict[str, Any] = {"kind": kind, "key": key, "decision": name}
    if decision.undo is None:
        return Result(**told, is_done=False, text=f"it cannot be taken back: {decision.final}")
    try:
        text = decision.undo(key, by=by, reason=reason)
    except CeleriacError as error:
        return Result(**told, is_done=False, text=str(error))
    return Result(**told, is_done=True, text=text)


def _decided(source: Source, decision: Decision, key: str, word: Word, *, stamp: str, noted: Noted | None) -> Result:
    found = find(source.kind, key)
    asked = found.told.asks if found else ""
    told: dict[str, Any] = {"kind": source.kind, "key": key, "decision": decision.name, "asked": asked}
    try:
        done = _act(source, found, decision, key, word, stamp)
    except CeleriacError as error:
        return Result(**told, is_done=False, text=_refusal(source, key, error))
    if noted and found:
        noted(found, decision, done)
    return Result(
        **told,
        is_done=True,
        text=done,
        can_undo=decision.undo is not None,
        final="" if decision.undo else decision.final,
    )


def _act(source: Source, found: Matter | None, decision: Decision, key: str, word: Word, stamp: str) -> str:
    if found is None:
        raise NotPossible(source.became(key))
    if stamp and stamp != found.stamp:
        raise NotPossible("it has been decided, and asks anew: look at it again")
    if not decision.fits(found.row):
        raise NotPossible(f"{decision.name!r} is not possible here")
    return decision.act(found.row, by=word.by, reason=word.reason, **word.given)


def _refusal(source: Source, key: str, error: CeleriacError) -> str:
    """Say why something was refused; where somebody else was faster, who."""
    is_there = rows_of(source).filter(pk=key).exists()
    return str(error) if is_there else source.became(key)
