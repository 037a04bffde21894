"""Workflows: named graphs of steps, written in YAML or in Python, checked before anything runs.

definition  a workflow as it is written: inputs, steps, phases, outputs
step        one node of the graph: a skill, a gate, a sleep or a sub-workflow
gate        where a run stops until a person approves, a check is true or a signal comes
expression  `${...}`: what a step takes from inputs, from other steps and from the run
finding     one thing that is wrong with a file, with its line, its column and its field
digest      a definition's content in one hash: what a run keeps of the version that it began with
"""

from typing import Any

from execution.exceptions import DefinitionInvalid, ExpressionFailed, ExpressionInvalid
from execution.workflows.evaluation import Scope
from execution.workflows.reading import Finding, load, look, look_at, read
from execution.workflows.spec import Definition, Fallback, Input, Phase, Retry, Step
from execution.workflows.templates import render


def register(source: Any, *, by: str = "") -> Any:
    """Store a definition, or the one in a file, as a version of its name; the same content is the same version."""
    from execution.workflows import catalog

    return catalog.register(source, by=by)


__all__ = [
    "Definition",
    "DefinitionInvalid",
    "ExpressionFailed",
    "ExpressionInvalid",
    "Fallback",
    "Finding",
    "Input",
    "Phase",
    "Retry",
    "Scope",
    "Step",
    "load",
    "look",
    "look_at",
    "read",
    "register",
    "render",
]
