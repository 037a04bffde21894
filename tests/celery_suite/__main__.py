"""Run Celery's own integration tests on its own task class and on SkillTask, and account for every difference.

Each run has the same broker, the same result backend and the same worker. What fails is run again, alone, up to
twice: the suite's authors mark most of it as failing at times. A difference that `exceptions.toml` does not explain
fails the comparison.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.celery_suite import house

REPOSITORY = Path(__file__).resolve().parents[2]
FOLDER = REPOSITORY / ".celeriac" / "celery-suite"
FILES = ("test_canvas.py", "test_tasks.py", "test_group_chains.py")
GOOD = ("passed", "xpassed", "xfailed", "skipped")
AGAIN = 2


def main() -> int:
    """Run both, print both counts and every difference; 1 when one of them is not explained."""
    wishes = _wishes()
    FOLDER.mkdir(parents=True, exist_ok=True)
    source = house.fetch(FOLDER)
    with house.idle_redis(FOLDER) as port:
        environment = _environment(source, port)
        stock = {} if wishes.durable_only else run("stock", source, environment, wishes.select)
        durable_environment = environment | {"DJANGO_SETTINGS_MODULE": "tests.celery_suite.settings"}
        with house.ledger_database(durable_environment) as url:
            durable = run("durable", source, durable_environment | {"DATABASE_URL": url}, wishes.select)
    return report(stock or durable, durable)


def _wishes() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="celery-suite", description=__doc__)
    parser.add_argument("-k", dest="select", default="", help="only tests that match, as in pytest")
    parser.add_argument("--durable-only", action="store_true", help="leave out the run on Celery's own class")
    return parser.parse_args()


def _environment(source: Path, port: int) -> dict[str, str]:
    address = f"redis://127.0.0.1:{port}"
    kept = {name: value for name, value in os.environ.items() if name != "DJANGO_SETTINGS_MODULE"}
    return kept | {
        "TEST_BROKER": f"{address}/1",
        "TEST_BACKEND": f"{address}/0",
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": str(port),
        "WORKER_LOGLEVEL": "info",
        "PYTHONPATH": os.pathsep.join([str(source), str(REPOSITORY)]),
    }


def run(mode: str, source: Path, environment: dict[str, str], select: str) -> dict[str, str]:
    """Run the suite in one mode, what fails again alone, and return how each test ended."""
    print(f"{mode}: running (log: {FOLDER / f'{mode}.log'})", flush=True)
    wanted = [f"t/integration/{name}" for name in FILES]
    endings = _pytest(mode, source, environment, [*wanted, *(["-k", select] if select else [])])
    for _ in range(AGAIN):
        failed = [test for test, ending in endings.items() if ending not in GOOD]
        if failed:
            endings |= _pytest(mode, source, environment, failed)
    return endings


def _pytest(mode: str, source: Path, environment: dict[str, str], arguments: list[str]) -> dict[str, str]:
    report_path = FOLDER / f"{mode}.json"
    report_path.unlink(missing_ok=True)
    plugins = ["celery.contrib.pytest", "tests.celery_suite.recorder", "no:django", "no:cacheprovider"]
    if mode == "durable":
        plugins.append("tests.celery_suite.durable")
    command = [sys.executable, "-m", "pytest", "-c", "pytest.ini", "-q", "--timeout=300"]
    command += [part for plugin in plugins for part in ("-p", plugin)]
    with (FOLDER / f"{mode}.log").open("ab") as log:
        subprocess.run(
            [*command, *arguments],
            cwd=source,
            env=environment | {"CELERY_SUITE_REPORT": str(report_path)},
            stdout=log,
            stderr=log,
            check=False,
        )
    if not report_path.exists():
        sys.exit(f"{mode}: pytest ended without a report; see {FOLDER / f'{mode}.log'}")
    return json.loads(report_path.read_text())


def report(stock: dict[str, str], durable: dict[str, str]) -> int:
    """Print both counts and every difference with its reason; 1 when one has none."""
    for mode, endings in (("stock", stock), ("durable", durable)):
        good = sum(ending in ("passed", "xpassed") for ending in endings.values())
        bad = [test for test, ending in endings.items() if ending not in GOOD]
        print(f"{mode:8} {good} of {len(endings)} passed, {len(bad)} failed")
    reasons = exceptions()
    unexplained = 0
    for test in sorted(set(stock) | set(durable)):
        before, after = stock.get(test, "missing"), durable.get(test, "missing")
        if (before in GOOD) != (after in GOOD):
            reason = reasons.get(test) if before in GOOD else "fails with Celery's own class only"
            unexplained += reason is None
            print(f"  {test.removeprefix('t/integration/')}: {before} -> {after}: {reason or 'NOT EXPLAINED'}")
    stale = [test for test in reasons if test in durable and durable[test] in GOOD]
    for test in stale:
        print(f"  {test}: is listed in exceptions.toml and passes")
    return 1 if unexplained else 0


def exceptions() -> dict[str, str]:
    """Return the reviewed list: each test that may differ, with its reason."""
    listed = tomllib.loads((Path(__file__).parent / "exceptions.toml").read_text())
    return {test: entry["reason"] for entry in listed["exception"] for test in entry["tests"]}


if __name__ == "__main__":
    sys.exit(main())
