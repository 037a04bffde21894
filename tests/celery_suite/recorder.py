"""A pytest plugin: write down how each test of the suite ended, as JSON, for the comparison."""

import json
import os
from pathlib import Path

# What has happened to a test in any of its phases or subtests; the worst counts.
ORDER = ("passed", "xpassed", "xfailed", "skipped", "failed")
_endings: dict[str, str] = {}


def pytest_runtest_logreport(report):
    """Remember the worst that a test has met."""
    ending = report.outcome
    if hasattr(report, "wasxfail"):
        ending = "xfailed" if report.skipped else "xpassed"
    before = _endings.get(report.nodeid, "passed")
    _endings[report.nodeid] = max(before, ending, key=ORDER.index)


def pytest_sessionfinish():
    """Write the endings."""
    Path(os.environ["CELERY_SUITE_REPORT"]).write_text(json.dumps(_endings, indent=1, sort_keys=True))
