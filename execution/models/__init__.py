"""The ledger's tables, one concept a module."""

from execution.models.agents import Agent, CapabilityLockout, Level
from execution.models.checkpoints import Blob, Checkpoint, Kind
from execution.models.cycles import CycleState, Tunable
from execution.models.events import Event, EventReader
from execution.models.jobs import ItemState, Job, JobItem, JobLane
from execution.models.limits import Breaker, BreakerState, ConcurrencyKey
from execution.models.memory import Memory, MemoryRule, MemoryUpdate, Operation, UpdateOutcome
from execution.models.phases import Phase
from execution.models.provenance import Lineage, Provenance, Relation
from execution.models.runs import ENDED, Run, RunState
from execution.models.sessions import Session, SessionCheckpoint, SessionStatus
from execution.models.steps import UNFINISHED, Attempt, Ending, Need, Step, StepState, Waiting
from execution.models.waits import (
    Chord,
    ChordPart,
    Effect,
    EffectState,
    Errand,
    ErrandKind,
    Signal,
    Timer,
    TimerKind,
)
from execution.models.workers import Worker
from execution.models.workflows import Workflow

__all__ = [
    "ENDED",
    "UNFINISHED",
    "Agent",
    "Attempt",
    "Blob",
    "Breaker",
    "BreakerState",
    "CapabilityLockout",
    "Checkpoint",
    "Chord",
    "ChordPart",
    "ConcurrencyKey",
    "CycleState",
    "Effect",
    "EffectState",
    "Ending",
    "Errand",
    "ErrandKind",
    "Event",
    "EventReader",
    "ItemState",
    "Job",
    "JobItem",
    "JobLane",
    "Kind",
    "Level",
    "Lineage",
    "Memory",
    "MemoryRule",
    "MemoryUpdate",
    "Need",
    "Operation",
    "Phase",
    "Provenance",
    "Relation",
    "Run",
    "RunState",
    "Session",
    "SessionCheckpoint",
    "SessionStatus",
    "Signal",
    "Step",
    "StepState",
    "Timer",
    "TimerKind",
    "Tunable",
    "UpdateOutcome",
    "Waiting",
    "Worker",
    "Workflow",
]
