"""`python -m tests.flows`: run the tests that the table names, print what held, and write docs/flows.md."""

import sys

import pytest
from rich.console import Console
from rich.table import Table

from tests.flows import page
from tests.flows.table import FLOWS


class Outcomes:
    """Remembers which tests passed."""

    def __init__(self):
        self.passed = {}

    def pytest_runtest_logreport(self, report):
        """Note one phase of a test: all of them must pass."""
        if report.when == "call" or report.failed:
            self.passed[report.nodeid] = report.passed and self.passed.get(report.nodeid, True)


def main():
    """Prove the flows; the status is 0 when every one that is built held its promise."""
    outcomes = Outcomes()
    status = pytest.main(["-q", "-p", "no:cacheprovider", *page.all_tests()], plugins=[outcomes])
    page.PAGE.write_text(page.render(outcomes.passed))
    _show(outcomes.passed)
    failed = [flow.number for flow in FLOWS if page.state_of(flow, outcomes.passed) == page.FAILED]
    return 1 if failed or status else 0


def _show(passed):
    colours = {page.PROVEN: "green", page.FAILED: "red", page.NOT_BUILT: "dim"}
    shown = Table("#", "substrate", "promise under fault", "", box=None, padding=(0, 2, 0, 0))
    for flow in FLOWS:
        state = page.state_of(flow, passed)
        shown.add_row(str(flow.number), flow.substrate, flow.promise, state, style=colours[state])
    Console().print(shown)
    states = [page.state_of(flow, passed) for flow in FLOWS]
    counted = ", ".join(f"{states.count(state)} {state}" for state in (page.PROVEN, page.FAILED, page.NOT_BUILT))
    Console().print(f"\n{counted}; docs/flows.md is written", highlight=False)


if __name__ == "__main__":
    sys.exit(main())
