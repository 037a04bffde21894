"""docs/flows.md, made of the table and of what was proven."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from tests.flows.table import FLOWS, Flow, Neighbour

PAGE = Path(__file__).resolve().parents[2] / "docs" / "flows.md"
PROVEN, FAILED, NOT_BUILT, ONLY_READ = "proven", "FAILED", "not built yet", "only read"

HEAD = """\
# The flows

Each reader and writer of each substrate, with the promise that it keeps when something breaks. A flow is *proven* when
its fault was injected against real servers and real workers and the promise held; `make flows` does that, and writes
this page from `tests/flows/table.py`. What is *not built yet* proves nothing and counts as nothing.

"""


def render(passed: Mapping[str, bool]) -> str:
    """Return the page, given which tests were run and whether they passed."""
    states = [state_of(flow, passed) for flow in FLOWS]
    lines = [
        HEAD + f"**{states.count(PROVEN)} of {len(FLOWS)} flows are proven, {states.count(FAILED)} failed, "
        f"{states.count(NOT_BUILT)} are not built yet.**",
        "",
        "| # | substrate | reader or writer | promise under fault | |",
        "| --- | --- | --- | --- | --- |",
        *(
            _row(flow.number, flow.substrate, flow.who, flow.promise, state)
            for flow, state in zip(FLOWS, states, strict=True)
        ),
        "",
        "## Faults and tests",
        "",
        "| # | code | fault | tests |",
        "| --- | --- | --- | --- |",
        *(_row(flow.number, flow.code, flow.fault, ", ".join(_tests(flow))) for flow in FLOWS if flow.is_built),
        "",
        "## The other readers and writers of these substrates",
        "",
        "| # | substrate | code | what it does | |",
        "| --- | --- | --- | --- | --- |",
        *(
            _row(flow.number, flow.substrate, one.code, one.does, state_of_neighbour(one, passed))
            for flow in FLOWS
            for one in flow.neighbours
        ),
    ]
    return "\n".join(lines) + "\n"


def state_of(flow: Flow, passed: Mapping[str, bool]) -> str:
    """Return what is known of a flow; a test that was not run proves nothing."""
    if not flow.is_built:
        return NOT_BUILT
    return PROVEN if all(_held(test, passed) for test in (flow.story, *flow.tests)) else FAILED


def state_of_neighbour(neighbour: Neighbour, passed: Mapping[str, bool]) -> str:
    """Return what is known of another reader or writer."""
    if not neighbour.test:
        return ONLY_READ
    return f"{PROVEN} by `{_short(neighbour.test)}`" if _held(neighbour.test, passed) else FAILED


def _held(test: str, passed: Mapping[str, bool]) -> bool:
    """Tell whether a test passed, in each of its cases; one that was not run did not."""
    found = [held for name, held in passed.items() if name == test or name.startswith(f"{test}[")]
    return bool(found) and all(found)


def all_tests() -> list[str]:
    """Return every test that the table names."""
    named = [test for flow in FLOWS if flow.is_built for test in (flow.story, *flow.tests)]
    named += [one.test for flow in FLOWS for one in flow.neighbours if one.test]
    return list(dict.fromkeys(named))


def _tests(flow: Flow) -> list[str]:
    return [f"`{_short(test)}`" for test in (flow.story, *flow.tests)]


def _short(test: str) -> str:
    return test.removeprefix("tests/")


def _row(*cells: object) -> str:
    return f"| {' | '.join(str(cell) for cell in cells)} |"
