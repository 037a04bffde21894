"""Retention: what leaves graduation's tables, and when. Nothing that waits for anything is ever touched.

Cases, scores and what was looked back on stay as long as verdicts do; samples, freezes, overrides and calls of the gate
as long as assessments. The records themselves are removed by execution's own clean-up. Before anything is removed,
verdicts whose events nobody has read get their cases.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any, LiteralString

from execution import conf, ledger
from execution.cycles import Cycle
from graduation.learn import outcomes

_BATCH = 10_000

_CASES: LiteralString = """
    DELETE FROM graduation_case WHERE verdict_id IN (
        SELECT verdict_id FROM graduation_case WHERE state <> 'open' AND look_at IS NULL
        AND judged_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_SCORES: LiteralString = """
    DELETE FROM graduation_score WHERE id IN (
        SELECT id FROM graduation_score
        WHERE id < execution_first_id_v1(clock_timestamp() - make_interval(secs => %s * 86400)) LIMIT %s)
    RETURNING 1"""
_RECOMMENDATIONS: LiteralString = """
    DELETE FROM graduation_recommendation WHERE id IN (
        SELECT id FROM graduation_recommendation WHERE state <> 'open'
        AND decided_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_RETROSPECTIVES: LiteralString = """
    DELETE FROM graduation_retrospective WHERE source IN (
        SELECT source FROM graduation_retrospective
        WHERE created_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_SAMPLES: LiteralString = """
    DELETE FROM graduation_sample WHERE step_id IN (
        SELECT step_id FROM graduation_sample WHERE scored_at IS NOT NULL
        AND scored_at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_FREEZES: LiteralString = """
    DELETE FROM graduation_freeze WHERE id IN (
        SELECT id FROM graduation_freeze
        WHERE least(lifted_at, until) < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_OVERRIDES: LiteralString = """
    DELETE FROM graduation_override WHERE id IN (
        SELECT id FROM graduation_override
        WHERE until < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""
_GATE_CALLS: LiteralString = """
    DELETE FROM graduation_gatecall WHERE id IN (
        SELECT id FROM graduation_gatecall
        WHERE at < clock_timestamp() - make_interval(secs => %s * 86400) LIMIT %s)
    RETURNING 1"""


def clean_up(_: dict[str, Any] | None = None) -> int:
    """Remove what is old, in batches; returns how much was touched."""
    settings = conf.current()
    touched = outcomes.adopt()
    for statement in (_CASES, _SCORES, _RECOMMENDATIONS, _RETROSPECTIVES):
        touched += _batches(statement, settings.verdict_days)
    for statement in (_SAMPLES, _FREEZES, _OVERRIDES, _GATE_CALLS):
        touched += _batches(statement, settings.assessment_days)
    return touched


def _batches(sql: LiteralString, days: float) -> int:
    total = 0
    while removed := len(ledger.ask(sql, [days, _BATCH])):
        total += removed
    return total


CLEAN_UP = Cycle(name="graduation.clean_up", period=timedelta(hours=24), step=clean_up, is_atomic=False)
