"""The ledger's tables, one concept a module."""

from execution.models.agents import Agent, CapabilityLockout, Level
from execution.models.checkpoints import Blob, Checkpoint, Kind
from execution.models.cycles import CycleState
from execution.models.events import Event, EventReader
from execution.models.jobs import ItemState, Job, JobItem, JobLane
from execution.models.limits import Breaker, BreakerState, ConcurrencyKey
from execution.models.memory import Memory, MemoryRule, MemoryUpdate, Operation, UpdateOutcome
from execution.models.phases import Phase
from execution.models.provenance import Lineage, Provenance, Relation
from execution.models.records import (
    Action,
    Assessment,
    AssessmentKind,
    Record,
    RecordHold,
    RecordParent,
    Verdict,
)
from execution.models.runs import ENDED, Run, RunState
from execution.models.services import ObservedCall, Service, ServiceDependency, Tier
from execution.models.sessions import Session, SessionCheckpoint, SessionStatus
from execution.models.steps import UNFINISHED, Attempt, Ending, Need, Step, StepState, Waiting
from execution.models.tunables import Tunable
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
    "Action",
    "Agent",
    "Assessment",
    "AssessmentKind",
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
    "ObservedCall",
    "Operation",
    "Phase",
    "Provenance",
    "Record",
    "RecordHold",
    "RecordParent",
    "Relation",
    "Run",
    "RunState",
    "Service",
    "ServiceDependency",
    "Session",
    "SessionCheckpoint",
    "SessionStatus",
    "Signal",
    "Step",
    "StepState",
    "Tier",
    "Timer",
    "TimerKind",
    "Tunable",
    "UpdateOutcome",
    "Verdict",
    "Waiting",
    "Worker",
    "Workflow",
]
