"""Graduation's part of `CELERIAC`: typed, with defaults, read when it is first asked for."""

from __future__ import annotations

from dataclasses import dataclass

from execution import conf


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings(conf.Section):
    """What `CELERIAC = {...}` may hold for graduation."""

    prometheus_url: str = ""
    """Where objectives whose origin is Prometheus are asked."""
    prometheus_timeout_seconds: float = 10.0
    tempo_url: str = ""
    """Where traces tell which service calls which; empty: the log alone does."""

    gate_stale_seconds: float = 300.0
    """Data that is older says nothing to the deploy gate."""
    bucket_days: float = 35.0
    """How long the counts of a minute are kept."""

    error_target: float = 0.05
    """The share of an agent's decisions that may be wrong, where its objective says nothing else."""
    evidence_alpha: float = 0.05
    """How often a good agent may be demoted, and an unfit one offered a rise."""
    evidence_least: int = 20
    """Outcomes before evidence demotes."""
    audit_share: float = 0.1
    """The share of decisions that are audited at random, at least."""

    graduation_days: float = 30.0
    """How far back the gates of graduation look."""
    prevention_least: int = 20
    """Recoveries before the gate of prevention is judged."""
    prevention_bound: float = 0.5
    prevention_lost: float = 0.3
    """Below this share of recoveries that held, the gate is lost."""
    regret_least: int = 10
    """Automatic actions before the gate of regret is judged."""
    regret_bound: float = 0.3
    regret_lost: float = 0.5
    """Above this share of actions that were taken back, the gate is lost."""
    evidence_days: float = 14.0
    """Without evidence for so long, a status is degraded."""

    outcome_days: float = 7.0
    """How long the outcome of a verdict is looked for."""
    quality_share: float = 0.05
    """The share of an agent's outputs that are scored, where the agent says nothing else."""
    quality_daily_budget: float = 1.0
    """What may be spent on scoring by a model in a day, in the ledger's currency."""


current = conf.reader(Settings)
"""Return the settings in force."""
