"""Patterns: known kinds of failures. A failure is matched by its fingerprint, its message's template, or similar words.

An exact fingerprint is sure, as sure as anything is here: 0.95. Anything else is as sure as the words are alike, times
how often such a match was said to be right, which counts half after every half-life. Patterns are proposed by the
nightly aggregation and judged by people; each judgment is an event with who and why.
"""

from __future__ import annotations

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from difflib import get_close_matches
from typing import Any, LiteralString

from django.db import transaction
from django.db.models import F
from django.db.models.functions import Now
from django.utils import timezone

from execution import events, ledger
from execution.exceptions import OptionInvalid
from recovery import conf, fingerprints, mining, templates
from recovery.exceptions import AlreadyDecided, NotFound
from recovery.models import Category, FailureMatch, FailurePattern, How, Mode, PatternState

EXACT = 0.95
SIMILAR = 0.7
"""How alike two templates must be, by their trigrams, to be thought of one kind."""

Named = FailurePattern | int | str

_SIMILAR: LiteralString = """
    SELECT q.place, p.id, p.template, similarity(p.template, q.template)::float8 AS similarity
    FROM unnest(%s::int[], %s::text[], %s::text[], %s::text[]) AS q(place, template, error_type, skill)
    CROSS JOIN LATERAL (
        SELECT x.id, x.template FROM recovery_failurepattern x
        WHERE x.template %% q.template AND x.template <> '' AND x.state <> 'rejected'
        AND x.skill IN ('', q.skill) AND (x.error_type = q.error_type OR x.error_type = '')
        ORDER BY similarity(x.template, q.template) DESC, x.confirmed_count DESC, x.id LIMIT 3) p
    ORDER BY q.place, similarity DESC"""
_COUNT: LiteralString = """
    UPDATE recovery_failurepattern p SET
        count = p.count + n.count, cost = p.cost + n.cost,
        first_seen_at = least(p.first_seen_at, n.first_at), last_seen_at = greatest(p.last_seen_at, n.last_at),
        versions = ARRAY(SELECT DISTINCT v FROM unnest(p.versions || string_to_array(n.versions, chr(31))) v
                         WHERE v <> '' ORDER BY v LIMIT 100)
    FROM unnest(%s::bigint[], %s::bigint[], %s::numeric[], %s::timestamptz[], %s::timestamptz[], %s::text[])
        AS n(id, count, cost, first_at, last_at, versions)
    WHERE p.id = n.id RETURNING p.id"""


# Matching


@dataclass(slots=True)
class Index:
    """The patterns of one batch, by what they are found by."""

    by_fingerprint: dict[tuple[int, str], FailurePattern] = field(default_factory=dict)
    by_template: dict[str, list[FailurePattern]] = field(default_factory=lambda: defaultdict(list))
    by_id: dict[int, FailurePattern] = field(default_factory=dict)

    @classmethod
    def load(cls) -> Index:
        """Read the patterns that may be matched, those that were confirmed most often first."""
        index = cls()
        rows = FailurePattern.objects.exclude(state=PatternState.REJECTED).defer("examples")
        for pattern in rows.order_by("-confirmed_count", "id"):
            index._add(pattern)
        return index

    def _add(self, pattern: FailurePattern) -> None:
        self.by_id[pattern.pk] = pattern
        self.by_fingerprint[pattern.fingerprint_version, pattern.fingerprint] = pattern
        root = templates.root_of(pattern.mined_id)
        if root is None:
            return
        self.by_template[root.digest].append(pattern)
        if pattern.is_by_message:
            now = fingerprints.of_message(pattern.error_type, root.digest)
            self.by_fingerprint.setdefault((fingerprints.VERSION, now), pattern)

    def exact(self, failure: FailureMatch) -> FailurePattern | None:
        """Return the pattern of this very fingerprint."""
        return self.by_fingerprint.get((failure.fingerprint_version, failure.fingerprint))

    def of_template(self, failure: FailureMatch) -> FailurePattern | None:
        """Return a pattern whose messages say the same."""
        root = templates.root_of(failure.template_id) if failure.template_id else None
        fitting = self.by_template.get(root.digest, ()) if root else ()
        return next((pattern for pattern in fitting if _may_be(pattern, failure)), None)


def _may_be(pattern: FailurePattern, failure: FailureMatch) -> bool:
    return pattern.skill in ("", failure.skill) and pattern.error_type in ("", failure.error_type)


def match(failures: Sequence[FailureMatch]) -> None:
    """Give failures that are not stored yet the patterns that they match, and how sure that is."""
    index, now = Index.load(), timezone.now()
    if not index.by_id:
        return
    left = []
    for failure in failures:
        if pattern := index.exact(failure):
            _set(failure, pattern, How.FINGERPRINT, EXACT)
        elif pattern := index.of_template(failure):
            _set(failure, pattern, How.TEMPLATE, confidence(pattern, 1.0, now))
        elif failure.template_id:
            left.append(failure)
    _match_by_words(left, index, now)


def _set(failure: FailureMatch, pattern: FailurePattern, how: How, sure: float) -> None:
    failure.pattern, failure.how, failure.confidence = pattern, how, round(sure, 4)


def confidence(pattern: FailurePattern, similarity: float, now: datetime) -> float:
    """Return how sure a match is that is not exact: never as sure as one that is."""
    confirmed = 0.0
    if pattern.confirmed_at is not None:
        age_days = max((now - pattern.confirmed_at).total_seconds(), 0) / 86400
        confirmed = pattern.confirmed_count * 0.5 ** (age_days / conf.current().pattern_half_life_days)
    return EXACT * similarity * (confirmed + 1) / (confirmed + 2)


def _match_by_words(failures: Sequence[FailureMatch], index: Index, now: datetime) -> None:
    """Match by similar words: one question for all, each message asked for once."""
    alike: dict[tuple[str, str, str], list[FailureMatch]] = defaultdict(list)
    for failure in failures:
        root = templates.root_of(failure.template_id)
        if root is not None:
            alike[root.text, failure.error_type, failure.skill].append(failure)
    for asked, pattern_id, similarity in _similar(list(alike)):
        if pattern_id not in index.by_id:
            continue
        pattern = index.by_id[pattern_id]
        for failure in alike.pop(asked, ()):
            _set(failure, pattern, How.SIMILARITY, confidence(pattern, similarity, now))


def _similar(asked: Sequence[tuple[str, str, str]]) -> Iterable[tuple[tuple[str, str, str], int, float]]:
    """Return patterns whose words are alike and say that the same happened, the most alike first."""
    if not asked:
        return
    ledger.ask_in_transaction("SELECT set_config('pg_trgm.similarity_threshold', %s, true)", [str(SIMILAR)])
    columns = [list(range(len(asked))), *([one[place] for one in asked] for place in range(3))]
    for row in ledger.ask_in_transaction(_SIMILAR, columns):
        if mining.tells_the_same(row.template, asked[row.place][0]):
            yield asked[row.place], row.id, row.similarity


def count(failures: Sequence[FailureMatch]) -> None:
    """Add failures to the counts of the patterns that they match."""
    found: dict[int, list[FailureMatch]] = defaultdict(list)
    for failure in failures:
        if failure.pattern_id:
            found[failure.pattern_id].append(failure)
    if not found:
        return
    list(FailurePattern.objects.select_for_update(no_key=True).filter(pk__in=found).order_by("pk").values_list("pk"))
    groups = list(found.values())
    ledger.ask_in_transaction(
        _COUNT,
        [
            list(found),
            [len(group) for group in groups],
            [sum(one.cost for one in group) for group in groups],
            [min(one.failed_at for one in group) for group in groups],
            [max(one.failed_at for one in group) for group in groups],
            ["\x1f".join(sorted({one.version for one in group})) for group in groups],
        ],
    )


# What people say of them


def get(pattern: Named) -> FailurePattern:
    """Return a pattern by its name or number."""
    if isinstance(pattern, FailurePattern):
        return pattern
    found = FailurePattern.objects.filter(name=pattern).first()
    if found is None and str(pattern).isdecimal() and len(str(pattern)) < _DIGITS_MOST:
        found = FailurePattern.objects.filter(pk=int(pattern)).first()
    if found is None:
        names = list(FailurePattern.objects.order_by("-cost").values_list("name", flat=True)[:1000])
        near = get_close_matches(str(pattern), names, n=1)
        raise NotFound("pattern", repr(pattern), f"did you mean {near[0]!r}?" if near else _WHERE)
    return found


_WHERE = "`manage.py patterns list` shows all"
_DIGITS_MOST = 19
"""A number of so many digits is larger than any that the table gives."""


def confirm(pattern: Named, *, by: str, reason: str = "", mode: str | None = None) -> FailurePattern:
    """Say that a pattern is one; its suggested mode is in force from then on, or the one that is given."""
    row = get(pattern)
    wanted = row.suggested_mode if row.state != PatternState.CONFIRMED else row.mode
    return _judge(
        row,
        "pattern.confirmed",
        by=by,
        reason=reason,
        refused=(),
        state=PatternState.CONFIRMED,
        mode=_choice("mode", mode, Mode) if mode else wanted,
        confirmed_count=F("confirmed_count") + 1,
        confirmed_at=Now(),
    )


def reject(pattern: Named, *, by: str, reason: str = "") -> FailurePattern:
    """Say that a pattern is none: it is matched no more, and not proposed again."""
    refused = (PatternState.REJECTED,)
    return _judge(get(pattern), "pattern.rejected", by=by, reason=reason, refused=refused, state=PatternState.REJECTED)


def change(
    pattern: Named,
    *,
    by: str,
    reason: str = "",
    category: str | None = None,
    mode: str | None = None,
    name: str | None = None,
) -> FailurePattern:
    """Change a pattern's category, mode or name."""
    wanted: dict[str, Any] = {}
    if category is not None:
        wanted["category"] = _choice("category", category, Category)
    if mode is not None:
        wanted["mode"] = wanted["suggested_mode"] = _choice("mode", mode, Mode)
    if name is not None:
        wanted["name"] = _name(name, get(pattern))
    if not wanted:
        raise OptionInvalid("say what is to be changed: category, mode or name")
    return _judge(get(pattern), "pattern.changed", by=by, reason=reason, refused=(), **wanted)


@transaction.atomic
def confirm_match(failure: FailureMatch | uuid.UUID | str, *, by: str, reason: str = "") -> FailurePattern:
    """Say that a failure was matched rightly: its pattern is trusted more."""
    from recovery import failures

    row = failure if isinstance(failure, FailureMatch) else failures.get(failure)
    if row.pattern is None:
        raise NotFound("pattern", f"of failure {row.id}", "it matched none")
    more = {"confirmed_count": F("confirmed_count") + 1, "confirmed_at": Now()}
    return _judge(row.pattern, "pattern.match_confirmed", by=by, reason=reason, refused=(), failure=row.id, **more)


@transaction.atomic
def _judge(
    pattern: FailurePattern,
    kind: str,
    *,
    by: str,
    reason: str,
    refused: Sequence[str],
    failure: uuid.UUID | None = None,
    **wanted: Any,
) -> FailurePattern:
    """Write a judgment and its event, unless somebody was earlier."""
    if not by:
        raise OptionInvalid(f"say who judges pattern {pattern.name!r}: by is empty")
    before = {key: str(getattr(pattern, key)) for key in ("state", "category", "mode", "name")}
    rows = FailurePattern.objects.filter(pk=pattern.pk).exclude(state__in=refused)
    if not rows.update(changed_by=by, reason=reason, **wanted):
        raise AlreadyDecided(f"pattern {pattern.name!r} is {pattern.state} already; nothing was changed")
    pattern.refresh_from_db()
    after = {key: str(getattr(pattern, key)) for key in before}
    tell(
        kind,
        pattern,
        by=by,
        reason=reason,
        before={key: value for key, value in before.items() if after[key] != value},
        failure=str(failure) if failure else None,
    )
    return pattern


def tell(kind: str, pattern: FailurePattern, **more: Any) -> None:
    """Write an event about a pattern, in the transaction in which it happened."""
    about = {
        "pattern": pattern.pk,
        "name": pattern.name,
        "state": pattern.state,
        "category": pattern.category,
        "mode": pattern.mode,
        "fingerprint": pattern.fingerprint,
        "fingerprint_version": pattern.fingerprint_version,
    }
    told = {key: value for key, value in more.items() if value not in (None, "", {})}
    events.note(kind, about | told)


def _choice(what: str, given: str, choices: type[Mode | Category]) -> str:
    if given in choices.values:
        return given
    near = get_close_matches(given, choices.values, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    raise OptionInvalid(f"a pattern's {what} is one of {', '.join(choices.values)}, not {given!r}{hint}")


def _name(given: str, pattern: FailurePattern) -> str:
    if not 0 < len(given) <= 200 or "\0" in given:
        raise OptionInvalid(f"a pattern's name has 1 to 200 characters, not {len(given)}")
    if FailurePattern.objects.filter(name=given).exclude(pk=pattern.pk).exists():
        raise OptionInvalid(f"there is a pattern {given!r} already; choose another name")
    return given
